//! The definition of Lanekeeper's own custom resource.

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceConversion;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use kube::CustomResourceExt as _;

use crate::resource::{LaneGroupObject, LaneGroupRule, lane_group_rules};

/// The `CustomResourceDefinition` of `LaneGroup`, with what the API server would fill in written out, so that
/// what is stored is what was applied.
pub fn crd() -> CustomResourceDefinition {
    let mut definition = LaneGroupObject::crd();
    let names = &mut definition.spec.names;
    names
        .list_kind
        .get_or_insert_with(|| format!("{}List", names.kind));
    // Empty is not stored.
    names.categories = names
        .categories
        .take()
        .filter(|categories| !categories.is_empty());
    for version in &mut definition.spec.versions {
        // The derive names its own types here; `kubectl explain` shows it to people.
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            let properties = schema.properties.as_mut();
            if let Some(spec) = properties.and_then(|properties| properties.get_mut("spec")) {
                // Of the spec, and not of the object: a status can be written to one that was stored before a rule was.
                spec.x_kubernetes_validations =
                    Some(lane_group_rules().into_iter().map(validation).collect());
                schema.description.clone_from(&spec.description);
            }
            schema.title = None;
        }
    }
    definition.spec.conversion = Some(CustomResourceConversion {
        strategy: "None".to_owned(),
        webhook: None,
    });
    definition
}

/// A rule as the definition has it.
fn validation(LaneGroupRule { field, message, cel }: LaneGroupRule) -> ValidationRule {
    ValidationRule {
        rule: cel,
        message: Some(message.to_owned()),
        field_path: Some(field.to_owned()),
        ..ValidationRule::default()
    }
}

/// The definition as YAML, as `lanekeeper crd` prints it and `manifests/base` holds it.
pub fn crd_yaml() -> anyhow::Result<String> {
    serde_saphyr::to_string(&crd()).context("the definition cannot be written as YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_described() {
        let definition = serde_json::to_value(crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut open = vec![(String::new(), schema)];
        let mut seen = 0;
        while let Some((path, schema)) = open.pop() {
            let described = schema["description"]
                .as_str()
                .is_some_and(|text| !text.is_empty());
            assert!(described || path == ".spec", "{path} has no description");
            let fields = schema["properties"].as_object().into_iter().flatten();
            open.extend(fields.map(|(name, schema)| (format!("{path}.{name}"), schema)));
            seen += 1;
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn printing_is_stable_and_reads_back_as_the_same_definition() {
        let yaml = crd_yaml().unwrap();
        assert_eq!(yaml, crd_yaml().unwrap());
        assert_eq!(
            serde_saphyr::from_str::<CustomResourceDefinition>(&yaml).unwrap(),
            crd()
        );
    }
}
