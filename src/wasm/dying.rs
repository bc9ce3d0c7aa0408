//! Only with the feature `die-on-demand`, for tests of what is left when a VM dies: a request's header
//! names the callback in which the VM ends, the next time that it is called.

use std::cell::RefCell;

use crate::request::headers::Request;

const HEADER: &str = "x-test-die";

thread_local! {
    /// Deliberately of the VM and not of a plugin: it is the VM that dies, with all that it holds.
    static WHERE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Takes note of what a request asks for.
pub(super) fn listen(request: &Request) {
    if let Some(callback) = request.first(HEADER) {
        WHERE.set(callback.to_vec());
    }
}

/// Ends the VM, if this is the callback to end it in.
pub(super) fn here(callback: &str) {
    if WHERE.with_borrow(|asked| asked == callback.as_bytes()) {
        std::process::abort();
    }
}
