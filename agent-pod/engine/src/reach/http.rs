//! Clients that connect only to what is called.
//!
//! A client asks its resolver for names and for nothing else, so addresses that stand in URLs are looked at before a request
//! is sent and before each redirect is followed. Of a name, the addresses that the resolver gives are those that are
//! connected to: whatever else the name has a moment later, nobody asks for it.

use std::{io, net::SocketAddr, sync::Arc};

use reqwest::{
    ClientBuilder, Url,
    blocking::ClientBuilder as BlockingClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

use super::{LookUpError, Reach, Refused, Rules};

impl Reach {
    /// A client to build that resolves names by these rules, follows redirects by them, and goes by no proxy: a proxy would
    /// resolve names by itself, and its own address may be written by whoever writes a pool's variables. Addresses in URLs
    /// are for [`Reach::ask`].
    pub fn client(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.0 {
            None => builder,
            Some(rules) => builder.no_proxy().redirect(redirects(rules)).dns_resolver(Arc::new(resolver(rules))),
        }
    }

    /// The same for a client that blocks; addresses in URLs are for [`Reach::check`].
    pub fn blocking_client(&self, builder: BlockingClientBuilder) -> BlockingClientBuilder {
        match &self.0 {
            None => builder,
            Some(rules) => builder.no_proxy().redirect(redirects(rules)).dns_resolver(Arc::new(resolver(rules))),
        }
    }

    /// Says where a URL leads to nothing that is called. Where its name cannot be looked up now, nothing is said: the client
    /// looks again. Blocks.
    ///
    /// # Errors
    /// It is not called.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let (Some(rules), Some(host)) = (&self.0, url.host_str()) else { return Ok(()) };
        match rules.addresses(host, url.port_or_known_default()) {
            Err(LookUpError::Refuse(refused)) => Err(refused),
            Ok(_) | Err(LookUpError::Find(_)) => Ok(()),
        }
    }

    /// Says whether a URL may be asked for as it is written, before a client looks its name up.
    ///
    /// # Errors
    /// It is not called.
    pub async fn ask(&self, url: &Url) -> Result<(), Refused> {
        let Some(rules) = &self.0 else { return Ok(()) };
        if rules.own.are_old() {
            let rules = Arc::clone(rules);
            // It cannot be cancelled, and a panic in it leaves what was known.
            let _ = tokio::task::spawn_blocking(move || rules.own.look_up(rules.names.as_ref())).await;
        }
        rules.written(url)
    }
}

impl Rules {
    /// A URL without looking its name up.
    fn written(&self, url: &Url) -> Result<(), Refused> {
        match url.host_str() {
            Some(host) => self.host(host, url.port_or_known_default()).map(drop),
            None => Ok(()),
        }
    }
}

fn redirects(rules: &Arc<Rules>) -> Policy {
    let rules = Arc::clone(rules);
    Policy::custom(move |attempt| match rules.written(attempt.url()) {
        Ok(()) => Policy::default().redirect(attempt),
        Err(refused) => attempt.error(refused),
    })
}

/// The resolver of a client.
struct Resolver(Arc<Rules>);

fn resolver(rules: &Arc<Rules>) -> Resolver {
    Resolver(Arc::clone(rules))
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            // The port is looked at where the URL is.
            let found = tokio::task::spawn_blocking(move || rules.addresses(name.as_str(), None)).await;
            let found = found.map_err(io::Error::other)??;
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
