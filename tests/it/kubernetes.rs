//! `docs/deploy/kubernetes`: valid by the schemas of the Kubernetes API, consistent, and with the promises of the
//! documents.

use std::{collections::BTreeSet, fs, path::Path};

use aforo::server::config::{self, Flags};
use clap::CommandFactory;
use serde_json::{Map, Value, json};
use yaml_rust2::{Yaml, YamlLoader};

const FOLDER: &str = "docs/deploy/kubernetes";
const SCHEMAS: &str = include_str!("../kubernetes/schema.json");

/// A YAML file as JSON, as the Kubernetes API reads it.
fn json_of(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(value) => json!(value),
        Yaml::Integer(value) => json!(value),
        Yaml::Real(text) => json!(text.parse::<f64>().unwrap()),
        Yaml::String(text) => json!(text),
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(entries) => Value::Object(
            entries
                .iter()
                .map(|(name, value)| (name.as_str().expect("a name").to_owned(), json_of(value)))
                .collect::<Map<_, _>>(),
        ),
        Yaml::Alias(_) | Yaml::BadValue => panic!("unsupported: {yaml:?}"),
    }
}

fn read(file: &str) -> Value {
    let text = fs::read_to_string(Path::new(FOLDER).join(file)).unwrap();
    let documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(documents.len(), 1, "{file} has one document");
    json_of(&documents[0])
}

/// The files that the kustomization applies.
fn resources() -> Vec<(String, Value)> {
    let kustomization = read("kustomization.yaml");
    let names = kustomization["resources"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().to_owned()).map(|name| (name.clone(), read(&name))).collect()
}

fn resource(kind: &str) -> Value {
    resources().into_iter().map(|(_, resource)| resource).find(|it| it["kind"] == kind).unwrap()
}

/// What the API would refuse in a resource.
fn faults(resource: &Value) -> Vec<String> {
    let (group, kind) = (resource["apiVersion"].as_str().unwrap(), resource["kind"].as_str().unwrap());
    let group = match group.split_once('/') {
        Some((group, version)) => format!("{group}.{version}"),
        None => format!("core.{group}"),
    };
    let mut schema: Value = serde_json::from_str(SCHEMAS).unwrap();
    let name = format!("io.k8s.api.{group}.{kind}");
    assert!(schema["$defs"].get(&name).is_some(), "tests/kubernetes/schema.json has no {name}");
    schema["$ref"] = json!(format!("#/$defs/{name}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(resource).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_file_is_valid_by_the_schema_of_its_kind() {
    let resources = resources();
    let kinds: BTreeSet<_> =
        resources.iter().map(|(_, resource)| resource["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]));
    for (file, resource) in &resources {
        assert_eq!(faults(resource), Vec::<String>::new(), "{file}");
    }
    // All files are applied.
    let applied: BTreeSet<_> = resources.into_iter().map(|(file, _)| file).collect();
    let files = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.filter(|file| file != "kustomization.yaml").collect::<BTreeSet<_>>(), applied);
}

#[test]
fn the_schemas_would_find_a_fault() {
    for (pointer, wrong) in [
        ("/spec/replicas", json!("two")),
        ("/spec/replica", json!(2)),
        ("/spec/template/spec/containers/0/securityContext/readOnlyRootFileSystem", json!(true)),
        ("/spec/template/spec/containers/0/livenessProbe/httpGet/path", json!(7)),
        ("/spec/template/spec/securityContext/runAsUser", json!("nobody")),
    ] {
        let mut deployment = resource("Deployment");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        deployment.pointer_mut(parent).unwrap()[name] = wrong;
        assert_eq!(faults(&deployment).len(), 1, "{pointer}");
    }
    // A setting must be text: `SHUTDOWN_DELAY: 5000` without quotes is refused.
    let mut config = resource("ConfigMap");
    config["data"]["SHUTDOWN_DELAY"] = json!(5000);
    assert_eq!(faults(&config).len(), 1);
    let mut service = resource("Service");
    service["spec"].as_object_mut().unwrap().remove("ports");
    service["spec"]["ports"] = json!([{"name": "http"}]);
    assert_eq!(faults(&service).len(), 1);
}

/// What kustomize would refuse in a kustomization with the fields that this folder uses. Others are unknown here.
fn faults_of_kustomization(kustomization: &Value) -> Vec<String> {
    let text = json!({"type": "string", "minLength": 1});
    let schema = json!({
        "type": "object",
        "properties": {
            "apiVersion": {"const": "kustomize.config.k8s.io/v1beta1"},
            "kind": {"const": "Kustomization"},
            "resources": {"type": "array", "items": text, "minItems": 1, "uniqueItems": true},
            "labels": {"type": "array", "items": {
                "type": "object",
                "properties": {
                    "pairs": {"type": "object", "additionalProperties": text},
                    "includeSelectors": {"type": "boolean"},
                    "includeTemplates": {"type": "boolean"},
                },
                "required": ["pairs"],
                "additionalProperties": false,
            }},
            "images": {"type": "array", "items": {
                "type": "object",
                "properties": {"name": text, "newName": text, "newTag": text, "digest": text},
                "required": ["name"],
                "additionalProperties": false,
            }},
        },
        "required": ["apiVersion", "kind", "resources"],
        "additionalProperties": false,
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults = validator.iter_errors(kustomization);
    let mut faults: Vec<_> = faults.map(|error| format!("{}: {error}", error.instance_path())).collect();
    for file in kustomization["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !Path::new(FOLDER).join(file).is_file() {
            faults.push(format!("/resources: there is no {file}"));
        }
    }
    faults
}

#[test]
fn the_kustomization_is_valid() {
    let kustomization = read("kustomization.yaml");
    assert_eq!(faults_of_kustomization(&kustomization), Vec::<String>::new());
    for (pointer, wrong) in [
        ("/resource", json!(["service.yaml"])),
        ("/resources/0", json!("config.yaml")),
        ("/kind", json!("Kustomisation")),
        ("/labels/0/pair", json!({})),
        ("/images/0/tag", json!("0.1.0")),
        // Without quotes, 0.1 would be a number.
        ("/images/0/newTag", json!(0.1)),
    ] {
        let mut changed = kustomization.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match changed.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = wrong,
            object => object[name] = wrong,
        }
        assert_eq!(faults_of_kustomization(&changed).len(), 1, "{pointer}");
    }
}

#[test]
fn names_and_labels_match() {
    let deployment = resource("Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        &resource("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &resource("Service")["spec"]["selector"],
    ] {
        assert_eq!(selector, labels);
    }
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(resource("Service")["spec"]["ports"][0]["targetPort"], port["name"]);
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!((&get["path"], &get["port"]), (&json!("/healthz"), &port["name"]), "{probe}");
    }
    let config = resource("ConfigMap");
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], config["metadata"]["name"]);
    assert!(
        config["data"]["LEPTOS_SITE_ADDR"]
            .as_str()
            .unwrap()
            .ends_with(&format!(":{}", port["containerPort"]))
    );
    let images = &read("kustomization.yaml")["images"][0];
    assert_eq!(images["name"], container["image"]);
    assert_eq!(images["newTag"], env!("CARGO_PKG_VERSION"));
    // The secrets that the head of the kustomization creates.
    let head = fs::read_to_string(Path::new(FOLDER).join("kustomization.yaml")).unwrap();
    let secret = container["envFrom"][1]["secretRef"]["name"].as_str().unwrap();
    assert!(head.contains(&format!("kubectl create secret generic {secret} ")), "{head}");
}

#[test]
fn the_settings_are_valid_and_leave_time_for_the_shutdown() {
    let config = resource("ConfigMap");
    let command = Flags::command();
    let flag = |name: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_env().is_some_and(|env| env == name));
        arg.unwrap_or_else(|| panic!("{name} is no setting")).get_long().unwrap().to_owned()
    };
    let data = config["data"].as_object().unwrap();
    let flags = data.iter().map(|(name, value)| format!("--{}={}", flag(name), value.as_str().unwrap()));
    let read = config::read(["aforo".to_owned()].into_iter().chain(flags)).unwrap();
    let spec = &resource("Deployment")["spec"]["template"]["spec"];
    let grace = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= read.shutdown_delay.as_secs() + 15, "{grace}");
    assert!(!read.trusted_proxies.is_empty());
}

#[test]
fn pods_have_no_rights_and_a_restart_keeps_every_node() {
    let deployment = resource("Deployment");
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!((&rolling["maxUnavailable"], &rolling["maxSurge"]), (&json!(0), &json!(1)));
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    let pod = &spec["securityContext"];
    assert_eq!(
        (&pod["runAsNonRoot"], &pod["seccompProfile"]["type"]),
        (&json!(true), &json!("RuntimeDefault"))
    );
    let container = &spec["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    // The user of the image.
    let image = include_str!("../../docs/deploy/Dockerfile");
    assert!(image.contains(&format!("USER {}:{}", pod["runAsUser"], pod["runAsGroup"])), "{image}");
}
