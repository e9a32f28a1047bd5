//! The folder a program runs in. It holds copies of what is declared, never the stored or the user's own file itself: what a program
//! does to them, as root too, harms nothing but its own run. Where the file system can, a copy shares its blocks with the original.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail, ensure};

use crate::{fields::Place, stage::Input};

/// The folder, in the stage's draft, which is removed once what is declared was taken out of it.
pub(super) struct Scratch {
    /// The draft. Nothing but `work` lies in it when the program starts.
    root: PathBuf,
    work: PathBuf,
    /// What was put there, to be found unchanged.
    inputs: Vec<(String, Stamp)>,
    /// Folders of inputs.
    folders: Vec<PathBuf>,
}

/// What tells whether a file was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl Scratch {
    /// A new one in the draft `out`, whose name is nobody else's.
    pub(super) fn new(out: &Path) -> io::Result<Self> {
        let work = out.join("work");
        fs::create_dir(&work)?;
        Ok(Self { root: out.to_owned(), work, inputs: Vec::new(), folders: Vec::new() })
    }

    /// What holds all of it; the program takes it for the user's folder, and for that of temporary files.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the program runs.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// Puts results of stages into the folder `name`; where they may be many, each into one called by its matrix values.
    pub(super) fn input(&mut self, name: &str, inputs: &[Input<'_>], many: bool) -> anyhow::Result<()> {
        self.folder(self.work.join(name))?;
        for input in inputs {
            let folder = match many {
                true => format!("{name}/{}", folder_name(input.labels.iter())),
                false => name.to_owned(),
            };
            if many {
                self.folder(self.work.join(&folder))?;
            }
            for file in input.files.0.keys() {
                let from = input.file(file)?;
                self.copy(&from, &format!("{folder}/{file}"))
                    .with_context(|| format!("cannot take over `{file}` of `{}`", input.instance))?;
            }
        }
        Ok(())
    }

    /// Makes a folder of inputs: one without files is there too.
    fn folder(&mut self, path: PathBuf) -> io::Result<()> {
        fs::create_dir_all(&path)?;
        self.folders.push(path);
        Ok(())
    }

    /// Puts a copy of a file at a place.
    pub(super) fn copy(&mut self, from: &Path, place: &str) -> io::Result<()> {
        let to = self.work.join(place);
        let source = fs::File::open(from)?;
        let make = || fs::File::options().write(true).create_new(true).mode(0o600).open(&to);
        let target = match (make(), to.parent()) {
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                make()?
            }
            (made, _) => made?,
        };
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            io::copy(&mut &source, &mut &target)?;
        }
        // What can be executed still can be.
        let mode = 0o444 | (source.metadata()?.mode() & 0o111);
        target.set_permissions(fs::Permissions::from_mode(mode))?;
        self.inputs.push((place.to_owned(), Stamp::of(&target.metadata()?)));
        Ok(())
    }

    /// Makes folders for what is to come, and those of inputs read-only.
    pub(super) fn seal(&self, outputs: &[Place], metrics: Option<&Place>) -> io::Result<()> {
        for place in outputs.iter().chain(metrics) {
            let path = self.work.join(&place.path);
            match (place.folder, path.parent()) {
                (true, _) => fs::create_dir_all(&path)?,
                (false, Some(folder)) if place.path.contains('/') => fs::create_dir_all(folder)?,
                _ => {}
            }
        }
        for folder in &self.folders {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o555))?;
        }
        Ok(())
    }

    /// Finds the inputs as they were put there.
    pub(super) fn check_inputs(&self) -> anyhow::Result<()> {
        for (place, stamp) in &self.inputs {
            let now = fs::symlink_metadata(self.work.join(place)).ok().map(|meta| Stamp::of(&meta));
            let what = match now {
                Some(now) if now == *stamp => continue,
                Some(_) => "wrote to",
                None => "removed",
            };
            bail!("the program {what} its input `{place}`: inputs are read-only; let it make a copy, and name that in `outputs`");
        }
        Ok(())
    }

    /// The file at a place.
    pub(super) fn file(&self, place: &Place) -> anyhow::Result<PathBuf> {
        let (path, meta) = self.find(place)?;
        ensure!(!meta.is_dir(), "`{place}` is a folder, and a file is wanted");
        self.plain(&path, &place.path, &meta)
    }

    /// The files that are declared, by name, each a file of its own.
    pub(super) fn collect(&self, outputs: &[Place]) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for place in outputs {
            let (path, meta) = self.find(place)?;
            match meta.is_dir() {
                true => self.collect_folder(&path, &place.path, &mut files)?,
                false if place.folder => bail!("the output `{place}` is not a folder: write it without `/` if it is a file"),
                false => files.push((place.path.clone(), self.own(path, &place.path, &meta)?)),
            }
        }
        Ok(files)
    }

    /// What lies at a place. A folder on the way there may have become a link, but not one that leads out.
    fn find(&self, place: &Place) -> anyhow::Result<(PathBuf, fs::Metadata)> {
        let path = self.work.join(&place.path);
        let Ok(meta) = fs::symlink_metadata(&path) else { return Err(self.missing(place)) };
        if let Some(folder) = path.parent().filter(|_| place.path.contains('/')) {
            let within = folder.canonicalize()?.starts_with(self.work.canonicalize()?);
            ensure!(within, "the output `{place}` lies behind a link out of its folder: let the program make the folder");
        }
        Ok((path, meta))
    }

    fn collect_folder(&self, folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> anyhow::Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read the output `{name}`"))?;
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name();
            let file = file.to_str().with_context(|| format!("{} has a name that is not UTF-8", entry.path().display()))?;
            let name = format!("{name}/{file}");
            let meta = fs::symlink_metadata(entry.path())?;
            match meta.is_dir() {
                true => self.collect_folder(&entry.path(), &name, files)?,
                false => {
                    let path = self.own(entry.path(), &name, &meta)?;
                    files.push((name, path));
                }
            }
        }
        Ok(())
    }

    /// A file that has no other name, maybe outside: it becomes a blob, and must not be changed there, or made read-only. A copy takes
    /// the place of one that has.
    fn own(&self, path: PathBuf, name: &str, meta: &fs::Metadata) -> anyhow::Result<PathBuf> {
        let source = self.plain(&path, name, meta)?;
        if !(meta.is_file() && meta.nlink() == 1) {
            let mut source = fs::File::open(&source).with_context(|| format!("cannot read the output `{name}`"))?;
            fs::remove_file(&path)?;
            io::copy(&mut source, &mut fs::File::create_new(&path)?)?;
        } else if meta.mode() & 0o400 == 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(path)
    }

    /// A plain file, or the one that a link within the folder leads to.
    fn plain(&self, path: &Path, name: &str, meta: &fs::Metadata) -> anyhow::Result<PathBuf> {
        if meta.is_file() {
            return Ok(path.to_owned());
        }
        ensure!(meta.is_symlink(), "the output `{name}` is neither a file nor a folder: let the program write a plain file");
        let leads = fs::read_link(path)?;
        let target = path.canonicalize().map_err(|_| {
            anyhow!("the output `{name}` is a link to {}, which is not there: let the program write a file", leads.display())
        })?;
        ensure!(
            target.starts_with(self.work.canonicalize()?),
            "the output `{name}` is a link out of its folder, to {}: let the program copy the file",
            leads.display()
        );
        ensure!(
            fs::metadata(&target)?.is_file(),
            "the output `{name}` is a link to {}, which is no file: let the program copy what it means",
            leads.display()
        );
        Ok(target)
    }

    fn missing(&self, place: &Place) -> anyhow::Error {
        const MOST: usize = 10;
        let inputs = |name: &String| {
            let known = self.inputs.iter().map(|(place, _)| place.split('/').next().unwrap_or(place));
            !known.into_iter().any(|known| known == name)
        };
        let entries = fs::read_dir(&self.work).into_iter().flatten().flatten();
        let mut left: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(inputs).collect();
        left.sort();
        left.truncate(MOST);
        let left = match left.is_empty() {
            true => "it left nothing".to_owned(),
            false => format!("it left `{}`", left.join("`, `")),
        };
        anyhow!("the program did not make the output `{place}`, and {left}: paths are taken from the folder it runs in")
    }
}

/// Matrix values as the name of a folder, axes in alphabetical order as in the key: `genre=Western,method=talk`.
fn folder_name<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let escape = |text: &String| text.replace('%', "%25").replace('/', "%2F");
    let mut values: Vec<String> = labels.map(|(axis, value)| format!("{axis}={}", escape(value))).collect();
    values.sort();
    values.join(",")
}
