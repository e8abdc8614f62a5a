//! Functions of features that are left out. They cannot be called, and say which feature they need,
//! where otherwise the compiler would only say that there is no such function. Types need nothing
//! like it: the compiler names the feature behind which an item is.

#![allow(unnameable_types, reason = "nobody implements these traits")]

#[cfg(not(feature = "sqlite"))]
mod sqlite {
    use crate::router::{OpenError, Router, RouterBuilder};

    /// A file of routes, in a program without SQLite.
    #[diagnostic::on_unimplemented(
        message = "routes in a file need the feature `sqlite` of connectivity-core",
        label = "cannot be opened without the feature `sqlite`",
        note = "add it to the features of connectivity-core in Cargo.toml"
    )]
    pub trait RoutesFile {
        /// Nothing implements this trait.
        fn never<T>(self) -> T;
    }

    impl Router {
        /// Needs the feature `sqlite`.
        #[doc(hidden)]
        pub fn open<P: RoutesFile>(path: P) -> std::future::Ready<Result<Self, OpenError>> {
            path.never()
        }

        /// Needs the feature `sqlite`.
        #[doc(hidden)]
        pub fn open_or_create<P: RoutesFile>(
            path: P,
        ) -> std::future::Ready<Result<Self, OpenError>> {
            path.never()
        }
    }

    impl RouterBuilder {
        /// Needs the feature `sqlite`.
        #[doc(hidden)]
        pub fn open<P: RoutesFile>(self, path: P) -> std::future::Ready<Result<Router, OpenError>> {
            path.never()
        }

        /// Needs the feature `sqlite`.
        #[doc(hidden)]
        pub fn open_or_create<P: RoutesFile>(
            self,
            path: P,
        ) -> std::future::Ready<Result<Router, OpenError>> {
            path.never()
        }
    }
}

/// Defines a function of [`ServerBuilder`](crate::ServerBuilder) that needs a feature.
macro_rules! listener {
    ($feature:literal, $module:ident, $function:ident, $message:literal, $label:literal $(, $tls:ident)?) => {
        #[cfg(not(feature = $feature))]
        mod $module {
                    /// An address, in a program without the listener.
            #[diagnostic::on_unimplemented(message = $message, label = $label)]
            pub trait Address {
                /// Nothing implements this trait.
                fn never<T>(self) -> T;
            }

            impl crate::server::ServerBuilder {
                #[doc = $message]
                #[doc(hidden)]
                pub fn $function<A: Address $(, $tls)?>(self, address: A $(, _tls: $tls)?) -> Self {
                    address.never()
                }
            }
        }
    };
}

listener!(
    "gateway",
    http,
    http,
    "listening for HTTP needs the feature `gateway` of connectivity-core",
    "cannot listen without the feature `gateway`"
);
listener!(
    "unix",
    unix,
    unix,
    "listening at a Unix socket needs the feature `unix` of connectivity-core",
    "cannot listen without the feature `unix`"
);
listener!(
    "quic",
    quic,
    quic,
    "listening for QUIC needs the feature `quic` of connectivity-core",
    "cannot listen without the feature `quic`",
    T
);
listener!(
    "mcp",
    mcp,
    mcp,
    "serving tools needs the feature `mcp` of connectivity-core",
    "cannot listen without the feature `mcp`",
    T
);
