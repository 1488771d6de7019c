//! What the demo sees for itself, at the balancer: how many hosts are out at once, and what became of every request.
//!
//! Owns the counts. Never asks the lock server: it is the witness that checks it. Fed by the balancer and the load.

/// Most causes of failed requests that are kept, the first ones.
const CAUSES_MAX: usize = 5;

/// The counts since the demo began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// How many hosts are out now.
    pub(super) out: u32,
    /// The most that were ever out at once.
    pub(super) peak_out: u32,
    /// Requests that reached the balancer.
    pub(super) requests: u64,
    /// Those that reached it while at least one host was out.
    pub(super) requests_while_out: u64,
    /// Requests that were not answered as they should.
    pub(super) failed_requests: u64,
    /// Requests that were still in flight a least drain after their host had been taken out, and were answered in full.
    pub(super) outlasted: u64,
    /// Why requests failed, the first few.
    pub(super) causes: Vec<String>,
}

impl Counts {
    /// So many hosts are out from now on.
    pub(super) fn out_changed(&mut self, out: u32) {
        self.out = out;
        self.peak_out = self.peak_out.max(out);
    }

    /// A request reached the balancer.
    pub(super) fn request_came(&mut self) {
        self.requests += 1;
        self.requests_while_out += u64::from(self.out > 0);
    }

    /// A request failed.
    pub(super) fn request_failed(&mut self, cause: String) {
        self.failed_requests += 1;
        if self.causes.len() < CAUSES_MAX {
            self.causes.push(cause);
        }
    }

    /// What was counted since an earlier moment. `out` and `peak_out` stay as they are; of the causes, the newer ones.
    pub(super) fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            out: self.out,
            peak_out: self.peak_out,
            requests: self.requests - earlier.requests,
            requests_while_out: self.requests_while_out - earlier.requests_while_out,
            failed_requests: self.failed_requests - earlier.failed_requests,
            outlasted: self.outlasted - earlier.outlasted,
            causes: self.causes[earlier.causes.len()..].to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_stays_and_requests_know_whether_a_host_was_out() {
        let mut counts = Counts::default();
        counts.request_came();
        counts.out_changed(2);
        counts.request_came();
        counts.out_changed(1);
        counts.request_came();
        counts.out_changed(0);
        counts.request_came();
        assert_eq!((counts.out, counts.peak_out, counts.requests, counts.requests_while_out), (0, 2, 4, 2));
    }

    #[test]
    fn causes_are_bounded_and_belong_to_their_act() {
        let mut counts = Counts::default();
        counts.request_failed("first".to_owned());
        let earlier = counts.clone();
        for _ in 0..10 {
            counts.request_failed("later".to_owned());
        }
        assert_eq!((counts.failed_requests, counts.causes.len()), (11, CAUSES_MAX));
        let act = counts.since(&earlier);
        assert_eq!((act.failed_requests, act.causes.len(), act.causes[0].as_str()), (10, CAUSES_MAX - 1, "later"));
    }
}
