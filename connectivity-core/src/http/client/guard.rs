//! The address guard: decides which addresses a route may reach.
//!
//! Write access to rows must not give access to this machine or its network (OWASP: server-side
//! request forgery). The guard checks the address that is dialled: literal addresses when the route
//! is built, names at each connect, in the resolver, whose result is what gets connected. Redirects
//! and environment proxies, which would choose other addresses, are disabled. Ranges: the IANA
//! special-purpose registries for IPv4 and IPv6.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Once};

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// IPv4 ranges that are not plainly public.
const V4_SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// Public IPv6 addresses: 2000::/3, except Teredo and protocol assignments, documentation, and
/// 6to4.
const V6_PUBLIC: &str = "2000::/3";
const V6_SPECIAL: &[&str] = &["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// The ranges that [`Guard::allow_internal`] opens: loopback and private networks.
const INTERNAL: &[&str] =
    &["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// The environment variable that opens them for the default transports of every router of the
/// process. An operator sets it; a row cannot.
const ALLOW_INTERNAL: &str = "CONNECTIVITY_ALLOW_INTERNAL";

/// Addresses where clouds serve credentials to any process that asks: refused under every policy.
const METADATA: &[&str] = &[
    "169.254.169.254/32",
    "169.254.170.2/32",
    "169.254.170.23/32",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "168.63.129.16/32",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
];

/// The addresses that a transport may reach: public ones, and those that were allowed in addition.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    tables: Arc<Tables>,
    allowed: Vec<IpNet>,
}

#[derive(Debug)]
struct Tables {
    v4_special: Vec<IpNet>,
    v6_public: Vec<IpNet>,
    v6_special: Vec<IpNet>,
    internal: Vec<IpNet>,
    metadata: Vec<IpNet>,
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

impl Guard {
    pub(crate) fn new() -> Self {
        let tables = Tables {
            v4_special: nets(V4_SPECIAL),
            v6_public: nets(&[V6_PUBLIC]),
            v6_special: nets(V6_SPECIAL),
            internal: nets(INTERNAL),
            metadata: nets(METADATA),
        };
        Self { tables: Arc::new(tables), allowed: Vec::new() }
    }

    /// Creates the guard of a default transport: the environment of this process may open loopback
    /// and private networks.
    pub(crate) fn of_environment() -> Self {
        let mut guard = Self::new();
        match std::env::var_os(ALLOW_INTERNAL).as_ref().and_then(|value| value.to_str()) {
            Some("1") => {
                static LOGGED: Once = Once::new();
                LOGGED.call_once(|| {
                    tracing::info!(
                        "{ALLOW_INTERNAL}=1: default transports reach internal networks"
                    );
                });
                guard.allow_internal();
            }
            None | Some("" | "0") => {}
            Some(_) => tracing::warn!("{ALLOW_INTERNAL} is neither 0 nor 1: it opens nothing"),
        }
        guard
    }

    pub(crate) fn allow(&mut self, net: IpNet) {
        self.allowed.push(net);
    }

    pub(crate) fn allow_internal(&mut self) {
        self.allowed.extend(self.tables.internal.iter().copied());
    }

    /// Checks an address, including IPv4 addresses wrapped in IPv6.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if within(&self.tables.metadata) {
            return Err(Refused {
                address,
                reason: "it serves credentials of the machine, and is never reached",
            });
        }
        let public = match address {
            IpAddr::V4(_) => !within(&self.tables.v4_special),
            IpAddr::V6(_) => within(&self.tables.v6_public) && !within(&self.tables.v6_special),
        };
        if public || within(&self.allowed) {
            return Ok(());
        }
        Err(Refused { address, reason: HINT })
    }

    /// Returns the allowed addresses; fails if all of them are refused.
    fn filter_allowed(&self, addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in addresses {
            match self.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(cause) => refused = Some(cause),
            }
        }
        match refused.filter(|_| allowed.is_empty()) {
            Some(cause) => Err(io::Error::new(io::ErrorKind::PermissionDenied, cause)),
            None => Ok(allowed),
        }
    }

    /// Checks what needs no look-up: a literal address, or a name that always means this machine.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(address) = literal {
            return self.check(address);
        }
        if host.eq_ignore_ascii_case("localhost")
            || host.to_ascii_lowercase().ends_with(".localhost")
        {
            return self.check(IpAddr::from([127, 0, 0, 1]));
        }
        Ok(())
    }
}

const HINT: &str = "it is not a public address; `HttpTransport::new().allow_internal()`, or CONNECTIVITY_ALLOW_INTERNAL=1 in the environment, opens loopback and private networks, `.allow(net)` any other";

/// The refusal of an address.
#[derive(Debug, thiserror::Error)]
#[error("the address guard refuses {address}: {reason}")]
pub(crate) struct Refused {
    address: IpAddr,
    reason: &'static str,
}

/// A look-up in progress.
pub(crate) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves a name with the system's resolver.
pub(crate) fn system(host: String) -> Addresses {
    Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
}

/// Resolves names and returns the addresses that the guard allows. The HTTP client uses it for each
/// new connection and dials only its result, so the checked address is the dialled address.
pub(crate) struct GuardedResolver<L> {
    pub(crate) guard: Guard,
    /// The host to resolve instead of the name, if the TLS server name differs from the host.
    pub(crate) host: Option<String>,
    pub(crate) look_up: L,
}

impl<L: Fn(String) -> Addresses + Send + Sync> Resolve for GuardedResolver<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        let addresses =
            (self.look_up)(self.host.clone().unwrap_or_else(|| name.as_str().to_owned()));
        Box::pin(async move {
            let allowed = guard.filter_allowed(addresses.await?)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(guard: &Guard, url: &str) -> bool {
        guard.check_url(&Url::parse(url).unwrap()).is_err()
    }

    #[test]
    fn tables_hold_every_range_that_is_written() {
        let tables = Guard::new().tables;
        assert_eq!(tables.v4_special.len(), V4_SPECIAL.len());
        assert_eq!(tables.v6_special.len(), V6_SPECIAL.len());
        assert_eq!(tables.internal.len(), INTERNAL.len());
        assert_eq!(tables.metadata.len(), METADATA.len());
        assert_eq!(tables.v6_public.len(), 1);
    }

    #[test]
    fn every_spelling_of_an_internal_address_is_refused() {
        let guard = Guard::new();
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "0.0.0.0",
            "[::]",
            "[::ffff:0.0.0.0]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "[fe80::1]",
            "[fc00::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[ff05::1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[2001:db8::1]",
            "①②⑦.0.0.1",
            "127.0.0.1.",
            "127.255.255.254",
            "0.1.2.3",
            "10.255.255.255",
            "192.168.255.255",
            "100.127.255.255",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.175.48.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "255.255.255.254",
            "[::ffff:10.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::ffff:0:127.0.0.1]",
            "[::10.0.0.1]",
            "[::2]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::a00:1]",
            "[2002:a00:1::1]",
            "[2002:a9fe:a9fe::]",
            "[2001:2::1]",
            "[2001:10::1]",
            "[2001:20::1]",
            "[3fff::1]",
            "[100::1]",
            "[5f00::1]",
            "[fd12:3456::1]",
            "[fdff::1]",
            "[febf::1]",
            "[ff01::1]",
            "[ff0e::1]",
            "[4000::1]",
        ] {
            assert!(refused(&guard, &format!("http://{host}/x")), "{host}");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        let guard = Guard::new();
        for host in [
            "8.8.8.8",
            "1.0.0.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2001:200::1]",
            "[2003::1]",
            "[2000::1]",
            "[::ffff:8.8.8.8]",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
        ] {
            assert!(!refused(&guard, &format!("https://{host}/x")), "{host}");
        }
    }

    #[test]
    fn internal_networks_open_but_metadata_never() {
        let mut guard = Guard::new();
        guard.allow_internal();
        for host in ["127.0.0.1", "[::1]", "localhost", "10.1.2.3", "192.168.0.1", "[fd12::1]"] {
            assert!(!refused(&guard, &format!("http://{host}/")), "{host}");
        }
        guard.allow("169.254.0.0/16".parse().unwrap());
        guard.allow("fd00::/8".parse().unwrap());
        assert!(!refused(&guard, "http://169.254.1.1/"));
        for host in
            ["169.254.169.254", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"]
        {
            assert!(refused(&guard, &format!("http://{host}/")), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let resolve = |guard: &Guard, host: Option<&str>| {
            let resolver = GuardedResolver {
                guard: guard.clone(),
                host: host.map(str::to_owned),
                look_up: system,
            };
            resolver.resolve("localhost".parse().unwrap())
        };
        let mut guard = Guard::new();
        let error = resolve(&guard, None).await.err().unwrap().to_string();
        assert!(error.contains("address guard refuses"), "{error}");
        guard.allow_internal();
        assert!(resolve(&guard, None).await.unwrap().next().is_some());
        assert!(resolve(&guard, Some("169.254.169.254")).await.is_err());
        let addresses: Vec<_> =
            resolve(&guard, Some("::1")).await.unwrap().map(|address| address.ip()).collect();
        assert_eq!(addresses, [IpAddr::from(std::net::Ipv6Addr::LOCALHOST)]);
    }
}
