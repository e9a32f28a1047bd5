//! Texts of items: how a model of language is told of what people rate.
//!
//! Title, then genres: `Toy Story (1995). Animation, Children's, Comedy.` Both are as the data set has them, articles behind commas and years
//! in brackets included. An item without genres is its title alone; one without a title goes by its id, which tells a model nothing but keeps
//! the item a row. What ratings say of an item is in no text.

use talkflow_datasets::ratings::Item;

/// The text of an item.
pub(super) fn of_item(item: &Item) -> String {
    let title = item.title.as_deref().map(str::trim).filter(|title| !title.is_empty()).unwrap_or(&item.id);
    let mut text = title.to_owned();
    // Some titles are sentences already.
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    if !item.genres.is_empty() {
        text.push(' ');
        text.push_str(&item.genres.join(", "));
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_its_title_and_its_genres() {
        let text = |title: Option<&str>, genres: &[&str]| {
            let genres = genres.iter().map(|&genre| genre.to_owned()).collect();
            of_item(&Item { id: "267".to_owned(), title: title.map(str::to_owned), genres })
        };
        let toys = text(Some("Toy Story (1995)"), &["Animation", "Children's", "Comedy"]);
        assert_eq!(toys, "Toy Story (1995). Animation, Children's, Comedy.");
        assert_eq!(text(Some(" Oliver! "), &["Musical"]), "Oliver! Musical.");
        assert_eq!(text(Some("Heat (1995)"), &[]), "Heat (1995).");
        assert_eq!(text(None, &["Drama"]), "267. Drama.");
        assert_eq!(text(Some("  "), &[]), "267.");
    }
}
