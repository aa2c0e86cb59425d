//! Watches: which objects are looked at again because something changed. Only names and metadata pass through here, and what a
//! mirror keeps.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::Arc,
};

use futures::{
    FutureExt, Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Resource, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        Predicate, WatchStreamExt, predicates,
        reflector::{ObjectRef, Store, store},
        watcher,
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    client::watching,
    context::Context,
    names::FIELD_MANAGER,
    scaling::seen::{Mirror, Pool},
};

/// The objects to look at again.
pub type Triggers<K> = BoxStream<'static, Result<ObjectRef<K>, watcher::Error>>;

/// The namespaces that one controller watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of the cluster.
    All,
    /// This one.
    Namespace(String),
}

impl Scope {
    /// The scopes of a list of namespaces; all where none is named.
    pub fn of(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() { vec![Self::All] } else { namespaces.iter().cloned().map(Self::Namespace).collect() }
    }

    fn api<K>(&self, ctx: &Context) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => Api::all(ctx.watches.clone()),
            Self::Namespace(namespace) => Api::namespaced(ctx.watches.clone(), namespace),
        }
    }

    /// The objects of a kind, and each that appears or changes in what its author says.
    pub fn objects<K>(&self, ctx: &Context) -> (Store<K>, Triggers<K>)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let (reader, writer) = store();
        let written = predicates::generation.combine(predicates::finalizers);
        let triggers = watcher(self.api::<K>(ctx), watching())
            .default_backoff()
            .reflect(writer)
            .applied_objects()
            .predicate_filter(written, Default::default())
            .map_ok(|object| ObjectRef::from_obj(&object));
        (reader, triggers.boxed())
    }

    /// What is made by this operator, of one kind: `concerned` names those that each belongs to.
    pub fn made<K, O, I>(
        &self,
        ctx: &Context,
        concerned: impl Fn(PartialObjectMeta<K>) -> I + Send + 'static,
    ) -> Triggers<O>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        O: Resource<DynamicType: Clone + Debug + Eq + Hash + Send> + 'static,
        I: IntoIterator<Item = ObjectRef<O>>,
    {
        let ours = watching().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
        let version = |object: &PartialObjectMeta<K>| Some(hash(&object.metadata.resource_version));
        follow(watcher(self.api::<PartialObjectMeta<K>>(ctx), ours), version, concerned)
    }

    /// Keeps a mirror of what is made by this operator, of one kind: of each, what `of` makes of it, which is all that is kept.
    /// Without end.
    pub async fn mirror<K, V>(&self, ctx: &Context, mirror: Arc<Mirror<V>>, of: fn(&K) -> Option<(Pool, V)>)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        V: Clone,
    {
        let ours = watching().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
        let mut events = watcher(self.api::<K>(ctx), ours).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => mirror.take(event, of),
                Err(error) => tracing::debug!(%error, kind = %K::kind(&()), "a watch was interrupted"),
            }
        }
    }

    /// Other objects: `relevant` is a digest of what matters of each, `concerned` names those that depend on it.
    pub fn others<K, O, I>(
        &self,
        ctx: &Context,
        relevant: fn(&K) -> Option<u64>,
        concerned: impl Fn(K) -> I + Send + 'static,
    ) -> Triggers<O>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        O: Resource<DynamicType: Clone + Debug + Eq + Hash + Send> + 'static,
        I: IntoIterator<Item = ObjectRef<O>>,
    {
        follow(watcher(self.api::<K>(ctx), watching()), relevant, concerned)
    }
}

/// What is known of an object that is followed.
struct Known<O: Resource> {
    uid: Option<String>,
    digest: Option<u64>,
    concerned: Vec<ObjectRef<O>>,
    /// Whether the list that is being read has it.
    listed: bool,
}

/// Names who is concerned when an object comes, changes in what matters, or goes: those that it concerned before, and those
/// that it concerns now. An object that went while nobody watched is missed in the list that follows.
fn follow<K, O, I>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    relevant: impl Fn(&K) -> Option<u64> + Send + 'static,
    concerned: impl Fn(K) -> I + Send + 'static,
) -> Triggers<O>
where
    K: Resource<DynamicType = ()> + Send + 'static,
    O: Resource<DynamicType: Clone + Debug + Eq + Hash + Send> + 'static,
    I: IntoIterator<Item = ObjectRef<O>>,
{
    let mut known: HashMap<(Option<String>, Option<String>), Known<O>> = HashMap::new();
    let name = |object: &K| (object.meta().namespace.clone(), object.meta().name.clone());
    let told = events.default_backoff().map_ok(move |event| match event {
        Event::Init => {
            known.values_mut().for_each(|known| known.listed = false);
            Vec::new()
        }
        Event::InitDone => known.extract_if(|_, known| !known.listed).flat_map(|(_, gone)| gone.concerned).collect(),
        Event::Delete(object) => {
            let before = known.remove(&name(&object));
            let mut all = before.map(|known| known.concerned).unwrap_or_default();
            all.extend(concerned(object));
            all
        }
        Event::Apply(object) | Event::InitApply(object) => {
            let (name, uid, digest) = (name(&object), object.meta().uid.clone(), relevant(&object));
            let before = known.remove(&name);
            let same = before.as_ref().is_some_and(|known| known.uid == uid && known.digest == digest);
            let now: Vec<ObjectRef<O>> = concerned(object).into_iter().collect();
            let mut all = before.map(|known| known.concerned).unwrap_or_default();
            all.extend(now.iter().cloned());
            known.insert(name, Known { uid, digest, concerned: now, listed: true });
            if same { Vec::new() } else { all }
        }
    });
    told.map_ok(|objects| stream::iter(objects).map(Ok)).try_flatten().boxed()
}

fn hash(value: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

/// A namespace of an object that has one.
pub fn namespace_of<K: Resource>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}

/// Ends when it is time to stop and no pass has ever begun, because the objects could not be listed yet: a controller would
/// wait for that, with nothing to finish.
pub async fn stopped_before_it_began<K>(objects: &Store<K>, stop: &CancellationToken)
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    stop.cancelled().await;
    if objects.wait_until_ready().now_or_never().is_some() {
        std::future::pending().await
    }
}

/// All of some streams.
pub fn all<K>(streams: Vec<Triggers<K>>) -> impl Stream<Item = Result<ObjectRef<K>, watcher::Error>> + Send
where
    K: Resource + 'static,
    K::DynamicType: Send,
{
    stream::select_all(streams)
}
