//! What is found wrong with a text, and worth a note, in the order in which it is found.

use std::cell::{Cell, RefCell};

use super::{
    diagnostic::{ConfigErrors, Diagnostic, Fault, Place, Severity},
    source::Source,
};

/// Collects what is found.
pub(crate) struct Findings<'s> {
    source: &'s Source,
    errors: RefCell<Vec<Diagnostic>>,
    /// How many errors there are, whether they are kept or not.
    count: Cell<usize>,
    notes: RefCell<Vec<Diagnostic>>,
}

/// Errors that are kept of one file. Nobody reads more, and a file may hold millions.
const MOST_ERRORS: usize = 1000;

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        Self { source, errors: RefCell::default(), count: Cell::default(), notes: RefCell::default() }
    }

    pub(crate) fn error(&self, place: &Place, fault: Fault) {
        let full = self.is_full();
        self.count_only();
        if !full {
            self.errors.borrow_mut().push(Diagnostic::new(self.source, place, Severity::Error, fault));
        }
    }

    /// Counts an error that is not kept.
    pub(super) fn count_only(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// Whether no more errors are kept.
    pub(super) fn is_full(&self) -> bool {
        self.count.get() >= MOST_ERRORS
    }

    pub(super) fn note(&self, place: &Place, fault: Fault) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MOST_ERRORS {
            notes.push(Diagnostic::new(self.source, place, Severity::Note, fault));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    pub(super) fn line(&self, place: &Place) -> usize {
        self.source.line(place.span.start)
    }

    /// The notes, or every error.
    pub(crate) fn finish(self) -> Result<Vec<Diagnostic>, ConfigErrors> {
        let errors = self.errors.into_inner();
        let more = self.count.get() - errors.len();
        ConfigErrors::new(errors, more).map_or(Ok(self.notes.into_inner()), Err)
    }
}
