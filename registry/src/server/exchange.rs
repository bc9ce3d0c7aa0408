//! A request and its response, as the limits of their connection count them.

use std::sync::Arc;

use super::activity::Activity;

/// About the most memory that a request needs in addition to its response's body, in bytes: stream,
/// task and headers.
pub(super) const OVERHEAD: u32 = 8192;

/// A request, from when its head was read until its response was taken or given up. Then this is
/// dropped.
// Small, because it is moved with each piece of a body.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Arc<Activity>,
    /// The memory that it holds, in bytes.
    cost: u32,
    /// The generation of the response, once there is one.
    generation: Option<u8>,
}

impl Exchange {
    pub(super) fn begin(activity: &Arc<Activity>, http2: bool) -> Self {
        activity.request_begins(http2, OVERHEAD as usize);
        Self {
            activity: Arc::clone(activity),
            cost: OVERHEAD,
            generation: None,
        }
    }

    /// Records that there is a response with a body of this many bytes.
    pub(super) fn answered(&mut self, body: u64) {
        let body = u32::try_from(body).unwrap_or(u32::MAX - OVERHEAD);
        let body = body.min(u32::MAX - OVERHEAD);
        self.cost = OVERHEAD + body;
        let generation = self
            .activity
            .response_begins(OVERHEAD as usize, body as usize);
        self.generation = Some(generation);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.activity
            .request_ends(self.generation, self.cost as usize);
    }
}
