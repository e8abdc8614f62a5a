//! A trait may be in a private module or in a function body, and less visible than `pub`.
#![deny(warnings)]

use connectivity_core::{Error, service};

mod outer {
    pub(super) mod inner {
        use connectivity_core::Error;

        #[connectivity_core::service]
        pub(in crate::outer) trait Hidden {
            async fn get(&self) -> Result<u64, Error>;
        }

        #[connectivity_core::service]
        pub(crate) trait Seen {
            async fn get(&self) -> Result<u64, Error>;
        }

        #[connectivity_core::service]
        trait Private {
            async fn get(&self, value: &super::Value) -> Result<super::Value, Error>;
        }

        pub(crate) struct Here;

        impl Seen for Here {
            async fn get(&self) -> Result<u64, Error> {
                HiddenClient::direct(Here).get().await
            }
        }

        impl Hidden for Here {
            async fn get(&self) -> Result<u64, Error> {
                PrivateClient::direct(Here).get(&super::Value(3)).await.map(|value| value.0)
            }
        }

        impl Private for Here {
            async fn get(&self, value: &super::Value) -> Result<super::Value, Error> {
                Ok(value.clone())
            }
        }
    }

    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Value(u64);
}

#[tokio::main]
async fn main() {
    #[service]
    trait Local {
        async fn get(&self) -> Result<u64, Error>;
    }

    impl Local for u64 {
        async fn get(&self) -> Result<u64, Error> {
            Ok(*self)
        }
    }

    assert_eq!(LocalClient::direct(7).get().await, Ok(7));
    assert_eq!(outer::inner::SeenClient::direct(outer::inner::Here).get().await, Ok(3));
}
