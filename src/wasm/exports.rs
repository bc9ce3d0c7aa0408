//! Envoy's callbacks.
//!
//! The SDK has its own callbacks, which dispatch to traits. The build replaces them with these: each
//! is exported as `keystile_…` and becomes `proxy_…`. An answer therefore always reaches the worker,
//! even if the request that asked is gone, and a request that is resolved at once needs no state.

#![allow(
    unsafe_code,
    reason = "functions are exported by their names, which the compiler cannot check"
)]

use std::cell::RefCell;
use std::collections::HashMap;

use super::root::Root;
use crate::engine::cache::Seed;
use crate::engine::host::Flow;

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

// The SDK's `_initialize`, which runs constructors.
proxy_wasm::main! {{}}

/// The return values of callbacks, as numbered by the proxy-wasm ABI.
const CONTINUE: u32 = 0;
const STOP_ITERATION: u32 = 1;
/// The whole request waits. With StopIteration and the plugin's `allow_on_headers_stop_iteration`,
/// Envoy would let the body in. If it outgrew Envoy's buffer, the request would be answered with 413;
/// after the verdict, the body would be lost or sent twice
/// (<https://github.com/envoyproxy/envoy/issues/46841>).
const STOP_ALL_ITERATION_AND_WATERMARK: u32 = 4;

/// Envoy numbers contexts in sequence; this spreads them. It is the fraction of the golden ratio.
const SPREAD: Seed = Seed::new(0x9e37_79b9_7f4a_7c15);

/// All state in this VM.
struct Vm {
    /// The root contexts, oldest first. There are several while a new configuration replaces an old
    /// one, or if the same module is loaded more than once.
    roots: Vec<Root>,
    /// The root context of each stream context, except for those of the oldest root. Usually there
    /// are no others, so that a request that is resolved at once leaves no state.
    streams: HashMap<u32, u32, Seed>,
}

thread_local! {
    static VM: RefCell<Vm> = const { RefCell::new(Vm {
        roots: Vec::new(),
        streams: HashMap::with_hasher(SPREAD),
    }) };
}

impl Vm {
    fn root(&mut self, id: u32) -> Option<&mut Root> {
        self.roots.iter_mut().find(|root| root.id == id)
    }

    fn root_of(&mut self, stream: u32) -> Option<&mut Root> {
        match self.streams.get(&stream) {
            Some(root) => {
                let root = *root;
                self.root(root)
            }
            None => self.roots.first_mut(),
        }
    }

    /// Handles the creation of a context; `parent` is 0 for a root context.
    fn created(&mut self, id: u32, parent: u32) {
        if parent == 0 {
            self.roots.push(Root::new(id));
        } else if self.roots.first().is_none_or(|root| root.id != parent) {
            self.streams.insert(id, parent);
        }
    }

    /// Handles the deletion of a context. Envoy keeps a root context for as long as it has streams.
    fn deleted(&mut self, id: u32) {
        if let Some(at) = self.roots.iter().position(|root| root.id == id) {
            self.roots.remove(at).close();
        } else {
            if let Some(root) = self.root_of(id) {
                root.on_gone(id);
            }
            self.streams.remove(&id);
        }
    }
}

/// Defines callbacks: the name under which each is exported, its arguments, and what it does with the
/// VM. Envoy never calls one from within another, because it defers the effects of host calls. If it
/// did, the inner one would return `otherwise`.
macro_rules! callbacks {
    ($(
        $(#[$doc:meta])*
        $name:literal: fn $callback:ident($($argument:ident: $type:ty),*) -> $result:ty,
        otherwise $otherwise:expr, |$vm:ident| $body:expr;
    )*) => {$(
        $(#[$doc])*
        #[unsafe(export_name = $name)]
        extern "C" fn $callback($($argument: $type),*) -> $result {
            #[cfg(feature = "failpoints")]
            super::failpoints::reached($name, &[$($argument.into()),*]);
            VM.with(|vm| match vm.try_borrow_mut() {
                Ok(mut vm) => {
                    let $vm = &mut *vm;
                    $body
                }
                Err(_) => $otherwise,
            })
        }
    )*};
}

callbacks! {
    /// A root context (`parent` is 0) or a stream context is created.
    "keystile_on_context_create": fn on_context_create(id: u32, parent: u32) -> (),
    otherwise (), |vm| {
        vm.created(id, parent);
    };

    "keystile_on_configure": fn on_configure(id: u32, size: u32) -> u32,
    otherwise 0, |vm| {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        vm.root(id).is_some_and(|root| root.on_configure(size)).into()
    };

    "keystile_on_request_headers": fn on_request_headers(id: u32, _number: u32, ends: u32) -> u32,
    otherwise STOP_ALL_ITERATION_AND_WATERMARK, |vm| {
        let flow = match vm.root_of(id) {
            Some(root) => root.on_request(id, ends != 0),
            // The creation of its root context was not reported.
            None => Root::new(0).on_request(id, ends != 0),
        };
        match flow {
            Flow::Continue => CONTINUE,
            Flow::Pause => STOP_ALL_ITERATION_AND_WATERMARK,
        }
    };

    "keystile_on_request_trailers": fn on_request_trailers(id: u32, _number: u32) -> u32,
    otherwise STOP_ITERATION, |vm| {
        match vm.root_of(id).map(|root| root.on_trailers(id)) {
            Some(Flow::Continue) => CONTINUE,
            Some(Flow::Pause) | None => STOP_ITERATION,
        }
    };

    "keystile_on_http_call_response": fn on_http_call_response(
        id: u32, token: u32, headers: u32, body_size: u32, _trailers: u32
    ) -> (),
    otherwise (), |vm| {
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        if let Some(root) = vm.root(id) {
            root.on_answer(token, size(headers), size(body_size));
        }
    };

    "keystile_on_tick": fn on_tick(id: u32) -> (),
    otherwise (), |vm| {
        if let Some(root) = vm.root(id) {
            root.on_tick();
        }
    };

    /// A context is deleted. A stream's context can still be made effective until then, but must be
    /// neither resumed nor answered.
    "keystile_on_delete": fn on_delete(id: u32) -> (),
    otherwise (), |vm| {
        vm.deleted(id);
    };
}
