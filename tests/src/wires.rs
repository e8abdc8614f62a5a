//! One server of a router over every wire, and clients' routers with a row for each.

use std::sync::atomic::{AtomicUsize, Ordering};

use connectivity_core::{HttpTransport, McpTransport, MemoryRoutes, Router, Server, Tls};

pub struct Wires {
    server: Server,
    service: String,
    pin: String,
}

impl Wires {
    pub const STRATEGIES: [&str; 4] = ["unix", "http", "quic", "mcp"];

    /// Serves one service of a router.
    pub async fn serve(router: &Router, service: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let at = NEXT.fetch_add(1, Ordering::SeqCst);
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let server = Server::builder(router)
            .expose([service])
            .unix(format!("@connectivity-wires-{}-{at}", std::process::id()))
            .http("127.0.0.1:0")
            .quic("127.0.0.1:0", tls.clone())
            .mcp("127.0.0.1:0", tls.clone())
            .start()
            .await
            .unwrap();
        Self { server, service: service.to_owned(), pin: tls.pin_sha256().to_string() }
    }

    /// Returns a router whose row for the service has this strategy, and this codec if there is one.
    pub fn router(&self, strategy: &str, codec: Option<&str>) -> Router {
        let (address, service) = (self.server.address(strategy).unwrap(), &self.service);
        let endpoint = match strategy {
            "http" => format!("http://{address}/{service}"),
            _ => address.to_owned(),
        };
        let pin =
            matches!(strategy, "quic" | "mcp").then(|| format!(r#""pin_sha256":"{}""#, self.pin));
        let codec = codec.map(|codec| format!(r#""codec":"{codec}""#));
        let keys: Vec<_> = pin.into_iter().chain(codec).collect();
        let routes = MemoryRoutes::new();
        routes.set(service, strategy, Some(&endpoint), &format!("{{{}}}", keys.join(",")));
        Router::builder()
            .source(routes)
            .transport("http", HttpTransport::new().allow_internal())
            .transport("mcp", McpTransport::new().allow_internal())
            .build()
            .unwrap()
    }

    /// Returns a client over every wire and in every codec, each with what it is.
    pub fn clients<C>(&self, client: impl Fn(&Router) -> C) -> Vec<(String, C)> {
        let each = Self::STRATEGIES.into_iter().flat_map(|strategy| {
            let codecs: &[_] = if strategy == "mcp" { &[None] } else { &[None, Some("json")] };
            codecs.iter().map(move |codec| (strategy, *codec))
        });
        each.map(|(strategy, codec)| {
            (format!("{strategy}, codec {codec:?}"), client(&self.router(strategy, codec)))
        })
        .collect()
    }
}
