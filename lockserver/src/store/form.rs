//! The form of the records on disk, its version, and the way forward from older ones.
//!
//! Owns which versions this program can read. A step forward is a pure function over rows; who runs it keeps a copy of what was
//! there before.

use super::StoreError;

/// The version of the form that this program writes.
pub(crate) const FORMAT: u64 = 1;

/// One record: its key, and its content.
pub(crate) type Row = (String, Vec<u8>);

/// The way from one form to the next.
#[derive(Debug)]
pub(crate) struct Step {
    /// The form that it begins with; it ends with the next one.
    pub(crate) from: u64,
    /// Brings every row forward, or says why that cannot be.
    pub(crate) bring: fn(Vec<Row>) -> Result<Vec<Row>, String>,
}

/// The forms that a program can read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forms {
    /// The one that it writes.
    pub(crate) current: u64,
    /// From older ones to that, in their order, without a gap.
    pub(crate) steps: &'static [Step],
}

/// Those of this program. The first form is still the present one, so there is no step yet.
pub(crate) const FORMS: Forms = Forms { current: FORMAT, steps: &[] };

impl Forms {
    /// The steps from a form that was found to the present one; none when it is that.
    ///
    /// # Errors
    /// The form is newer than this program, or older than anything that it can bring forward.
    pub(crate) fn way(&self, found: u64) -> Result<&'static [Step], StoreError> {
        let unknown = || StoreError::Format { found: found.to_string() };
        if found == self.current {
            return Ok(&[]);
        }
        let first = self.steps.iter().position(|step| step.from == found).ok_or_else(unknown)?;
        self.steps.get(first..).ok_or_else(unknown)
    }

    /// Rows of a form that was found, in the present one.
    ///
    /// # Errors
    /// The form is unknown, or a row is not what it should be.
    pub(crate) fn bring(&self, found: u64, rows: Vec<Row>) -> Result<Vec<Row>, StoreError> {
        self.way(found)?.iter().try_fold(rows, |rows, step| {
            let damaged = |cause| StoreError::Damaged { what: format!("it is no form {}: {cause}", step.from) };
            (step.bring)(rows).map_err(damaged)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_this_program_lead_from_one_form_to_the_next_without_a_gap() {
        let known = FORMS.steps.iter().map(|step| step.from).chain([FORMS.current]).collect::<Vec<_>>();
        assert!(known.windows(2).all(|pair| pair[1] == pair[0] + 1), "{known:?}");
        assert_eq!(known.first(), Some(&1), "whatever a release ever wrote can be read");
    }

    #[test]
    fn a_form_without_a_way_is_refused() {
        const TWO: Forms = Forms { current: 3, steps: &[Step { from: 2, bring: Ok }] };
        assert_eq!(TWO.way(3).expect("the present one").len(), 0);
        assert_eq!(TWO.way(2).expect("the one before").len(), 1);
        for unknown in [0, 1, 4, u64::MAX] {
            let refused = TWO.way(unknown).expect_err("unknown").to_string();
            assert!(refused.starts_with(&format!("the state has form {unknown}, ")), "{refused}");
        }
    }
}
