//! What is made of files, and made anew where they change. A look asks for their times and sizes alone; they are read where
//! those are others. What is wrong with them is told once for as long as it is the same.
//!
//! Deliberately not here: what is made of them, and when to look.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwapOption;

use super::certificates::Stamp;

#[derive(Debug)]
pub(super) struct FromFiles<T> {
    /// What is wrong is told of this.
    subject: String,
    /// What follows where there is nothing yet, in words.
    without: &'static str,
    files: Vec<PathBuf>,
    /// None: the files have never been of use.
    made: ArcSwapOption<T>,
    last: Mutex<Last>,
}

/// What the last look found.
#[derive(Debug, Default)]
struct Last {
    /// None: to be read whatever they look like.
    look: Option<Vec<Stamp>>,
    problem: Option<String>,
}

impl<T> FromFiles<T> {
    /// Nothing is made yet.
    pub(super) fn new(subject: String, without: &'static str, files: Vec<PathBuf>) -> Self {
        Self { subject, without, files, made: ArcSwapOption::empty(), last: Mutex::default() }
    }

    pub(super) fn newest(&self) -> arc_swap::Guard<Option<Arc<T>>> {
        self.made.load()
    }

    /// What is wrong with the files.
    pub(super) fn problem(&self) -> Option<String> {
        self.last().problem.clone()
    }

    /// Looks at the files. Where one may have changed, `make` gets what was made before, and makes it anew or finds it the
    /// same (none). True: it is another now. What was there before stays where the new is no good.
    pub(super) fn refresh(&self, now: SystemTime, make: impl FnOnce(Option<&T>) -> Result<Option<T>, String>) -> bool {
        let look: Option<Vec<_>> = self.files.iter().map(|file| Stamp::of(file).ok()).collect();
        if look.is_some() && self.last().look == look {
            return false;
        }
        let before = self.newest();
        let (made, problem) = match make(before.as_deref()) {
            Ok(made) => (made, None),
            Err(why) if before.is_some() => (None, Some(format!("{why}; what was there before stays in use"))),
            Err(why) => (None, Some(format!("{why}; {}", self.without))),
        };
        // What is wrong may pass without a trace on the file, and what was written just now may be written again.
        let is_settled = problem.is_none() && !look.iter().flatten().any(|stamp| stamp.is_young(now));
        let is_other = made.is_some();
        if let Some(made) = made {
            self.made.store(Some(Arc::new(made)));
        }
        let mut last = self.last();
        last.look = look.filter(|_| is_settled);
        if last.problem != problem {
            match &problem {
                Some(why) => log::error!("{}: {why}", self.subject),
                None => log::info!("{} is as configured again", self.subject),
            }
            last.problem = problem;
        }
        is_other
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, path::Path, time::Duration};

    use tempfile::TempDir;

    use super::*;

    /// Makes a file's text of it, and counts how often it is read.
    struct Scene {
        directory: TempDir,
        made: FromFiles<String>,
        read: Cell<usize>,
    }

    fn scene() -> Scene {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("file");
        Scene { made: FromFiles::new("a test".to_owned(), "nothing goes", vec![file]), directory, read: Cell::new(0) }
    }

    impl Scene {
        fn file(&self) -> &Path {
            &self.made.files[0]
        }

        fn look(&self) -> bool {
            // Long after whatever was written.
            self.look_at(SystemTime::now() + Duration::from_mins(1))
        }

        fn look_at(&self, now: SystemTime) -> bool {
            self.made.refresh(now, |before| {
                self.read.set(self.read.get() + 1);
                let text = fs::read_to_string(self.file()).map_err(|error| error.to_string())?;
                if text == "bad" { Err(text) } else { Ok(Some(text).filter(|text| before != Some(text))) }
            })
        }

        fn newest(&self) -> Option<String> {
            self.made.newest().as_deref().cloned()
        }
    }

    #[test]
    fn files_that_look_the_same_are_not_read() {
        let scene = scene();
        fs::write(scene.file(), "one").unwrap();
        assert!(scene.look());
        assert!(!scene.look() && !scene.look());
        assert_eq!((scene.read.get(), scene.newest().as_deref()), (1, Some("one")));
        // A file in place of another, of the same size.
        let other = scene.directory.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(other, scene.file()).unwrap();
        assert!(scene.look() && !scene.look());
        assert_eq!((scene.read.get(), scene.newest().as_deref()), (2, Some("two")));
    }

    #[test]
    fn one_that_was_written_just_now_is_read_again() {
        let scene = scene();
        fs::write(scene.file(), "one").unwrap();
        assert!(scene.look_at(SystemTime::now()));
        assert!(!scene.look_at(SystemTime::now()));
        assert_eq!(scene.read.get(), 2);
    }

    #[test]
    fn what_is_wrong_is_looked_at_until_it_is_over_and_what_was_before_stays() {
        let scene = scene();
        assert!(!scene.look());
        assert!(scene.made.problem().unwrap().ends_with("; nothing goes"));
        fs::write(scene.file(), "one").unwrap();
        assert!(scene.look());
        assert_eq!(scene.made.problem(), None);
        fs::write(scene.file(), "bad").unwrap();
        assert!(!scene.look() && !scene.look());
        assert_eq!(scene.made.problem().as_deref(), Some("bad; what was there before stays in use"));
        assert_eq!((scene.read.get(), scene.newest().as_deref()), (4, Some("one")));
        fs::write(scene.file(), "one").unwrap();
        assert!(!scene.look());
        assert_eq!(scene.made.problem(), None);
    }

    #[test]
    fn of_no_file_it_is_made_once() {
        let made = FromFiles::new("a test".to_owned(), "nothing goes", Vec::new());
        assert!(made.refresh(SystemTime::now(), |_| Ok(Some(1))));
        assert!(!made.refresh(SystemTime::now(), |_| Ok(Some(2))));
        assert_eq!(made.newest().as_deref(), Some(&1));
    }
}
