//! Paths inside a folder that is yet to be made, as a stage declares what it will find there and what it will leave: relative, inside,
//! and written one way only.

use super::reader::{Absent, Fields, Found};
use super::settings::Leaf;
use super::shape::Shape;

/// A declared path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Parts joined by `/`; none is empty, `.` or `..`.
    pub path: String,
    /// Whether it was written with a `/` at its end.
    pub folder: bool,
}

impl Place {
    /// Takes a path apart and puts it together again in the one way.
    ///
    /// # Errors
    /// Why it can be no path inside.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with('/') {
            return Err("is absolute");
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        match parts[..] {
            [] => Err("names nothing"),
            _ if parts.contains(&"..") => Err("leads out by `..`"),
            _ if text.contains('\0') => Err("has a NUL character in it"),
            _ => Ok(Self { path: parts.join("/"), folder: text.ends_with('/') }),
        }
    }

    /// Whether one of two paths is the other or leads into it.
    #[must_use]
    pub fn overlap(a: &str, b: &str) -> bool {
        let within =
            |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        within(a, b) || within(b, a)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.path, if self.folder { "/" } else { "" })
    }
}

impl Fields<'_> {
    /// Reads a list of paths inside, none of which overlap; empty where it is not written. `free` says why one cannot be used.
    pub fn places(&mut self, key: &str, mut free: impl FnMut(&Place) -> Result<(), String>) -> Vec<Place> {
        let shape = Shape::list(Shape::File);
        let convert = |fields: &mut Self, found: &Found| {
            let mut seen: Vec<Place> = Vec::new();
            fields.list_of(found, &shape, |fields, item| {
                let place = fields.place_of(item, &mut free)?;
                if let Some(other) = seen.iter().find(|other| Place::overlap(&other.path, &place.path)) {
                    let message = match other.path == place.path {
                        true => format!("`{key}` names `{place}` twice"),
                        false => format!("`{other}` and `{place}` in `{key}` hold each other"),
                    };
                    fields.say(item.mistake(message).help("a folder holds all that is in it: name that alone"));
                    return None;
                }
                seen.push(place.clone());
                Some(place)
            })
        };
        let leaf = |places: &Vec<Place>| Leaf::List(places.iter().map(|place| Leaf::Text(place.to_string())).collect());
        self.value(key, Absent::Default(Vec::new()), &shape, convert, leaf).unwrap_or_default()
    }

    /// Reads one path inside, which may be left out.
    pub fn optional_place(&mut self, key: &str, mut free: impl FnMut(&Place) -> Result<(), String>) -> Option<Place> {
        let convert = |fields: &mut Self, found: &Found| fields.place_of(found, &mut free);
        self.value(key, Absent::None, &Shape::File, convert, |place| Leaf::Text(place.to_string()))
    }

    fn place_of(&mut self, found: &Found, free: &mut impl FnMut(&Place) -> Result<(), String>) -> Option<Place> {
        let text = self.text_of(found)?;
        match Place::parse(&text) {
            Err(why) => {
                let help = "name it by a path inside of the folder that the stage runs in";
                self.say(found.mistake(format!("the path `{text}` {why}")).help(help));
                None
            }
            Ok(place) => match free(&place) {
                Ok(()) => Some(place),
                Err(why) => {
                    self.say(found.mistake(why));
                    None
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_one_way() {
        let path = |text| Place::parse(text).map(|place| place.to_string());
        assert_eq!(path("./a//b/./c"), Ok("a/b/c".to_owned()));
        assert_eq!(path("a/"), Ok("a/".to_owned()));
        for text in ["", ".", "./", "/a", "..", "a/../b", "a\0"] {
            assert!(path(text).is_err(), "{text:?}");
        }
        assert!(Place::overlap("a", "a/b") && Place::overlap("a/b", "a") && Place::overlap("a", "a"));
        assert!(!Place::overlap("a", "ab"));
    }
}
