//! Which models a client finds, by which names.

use agent_pod::serve::{gateway::tokens::Caller, inference::directory::Directory};
use crds::{AgentPoolSpec, ModelTask};
use serde_json::json;

fn pool(models: &[(&str, &str, &str)]) -> AgentPoolSpec {
    let model =
        |(name, task, source): &(&str, &str, &str)| json!({"name": name, "task": task, "source": {"catalog": source}});
    let models: Vec<_> = models.iter().map(model).collect();
    serde_json::from_value(json!({"models": models})).expect("a pool")
}

fn directory() -> Directory {
    let mut directory = Directory::default();
    let readers = pool(&[("mini", "Embed", "minilm"), ("small", "Generate", "one")]);
    directory.add("readers", &readers, ["p".to_owned()], None);
    directory.add("readers", &readers, ["q".to_owned()], None);
    let writers = pool(&[("mini", "Embed", "minilm"), ("small", "Generate", "another")]);
    directory.add("writers", &writers, ["q".to_owned()], None);
    directory
}

fn client(pipelines: Option<&[&str]>) -> Caller {
    let pipelines = pipelines.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Caller { pipelines, ..Caller::default() }
}

fn pools_of(caller: &Caller, model: &str, task: ModelTask) -> Result<Vec<String>, String> {
    let directory = directory();
    let found = directory.find(caller, model, task);
    found.map(|held| held.iter().map(|held| held.pool.clone()).collect()).map_err(|refusal| refusal.body().to_string())
}

#[test]
fn a_model_is_found_in_every_pool_that_holds_it() {
    let all = client(None);
    assert_eq!(pools_of(&all, "mini", ModelTask::Embed), Ok(vec!["readers".to_owned(), "writers".to_owned()]));
    assert_eq!(pools_of(&all, "writers/mini", ModelTask::Embed), Ok(vec!["writers".to_owned()]));
    assert_eq!(pools_of(&all, "writers/small", ModelTask::Generate), Ok(vec!["writers".to_owned()]));
}

#[test]
fn a_name_of_different_models_a_wrong_task_and_an_unknown_name_are_refused() {
    let all = client(None);
    assert!(pools_of(&all, "small", ModelTask::Generate).is_err_and(|body| body.contains("write pool/small")));
    assert!(pools_of(&all, "mini", ModelTask::Generate).is_err_and(|body| body.contains("is for embeddings")));
    let unknown = pools_of(&all, "gpt-4o", ModelTask::Generate);
    assert!(unknown.is_err_and(|body| body.contains("model_not_found") && body.contains("readers/small")));
}

#[test]
fn a_client_sees_the_pools_of_its_pipelines_alone() {
    let of_p = client(Some(&["p"]));
    assert_eq!(pools_of(&of_p, "small", ModelTask::Generate), Ok(vec!["readers".to_owned()]));
    assert!(pools_of(&of_p, "writers/small", ModelTask::Generate).is_err());
    let names = |caller: &Caller| directory().names(caller).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&of_p), ["mini", "readers/mini", "readers/small", "small"]);
    assert_eq!(names(&client(Some(&[]))), Vec::<String>::new());
    assert!(!names(&client(None)).contains(&"small".to_owned()), "it would be ambiguous");
}
