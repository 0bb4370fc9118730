//! The patch that sets the lane header on gateway routes.

use serde_json::Value;

use super::judgement::{Change, base_view};
use crate::resource::Resource;
use crate::rewrite::{Edit, apply, edits, is_left_alone, is_opted_out};
use crate::world::World;

/// Argo CD's service account and its field manager.
const ARGO_CD: [&str; 2] = ["argocd-application-controller", "argocd-controller"];

/// Whether Argo CD sends the object. Then it tracks it, also where it does so by the label
/// `app.kubernetes.io/instance`, which is on much that it knows nothing of [s11].
pub(super) fn is_by_argo_cd(user: &str, manager: Option<&str>) -> bool {
    let account = user.rsplit(':').next();
    [account, manager]
        .into_iter()
        .flatten()
        .any(|name| ARGO_CD.contains(&name))
}

/// What the mutating webhook does to an object.
#[derive(Debug, Default)]
pub struct Mutation {
    /// What the routes need.
    pub edits: Vec<Edit>,
    /// The same as a JSON Patch (RFC 6902); `None`: the object is left as it is.
    pub patch: Option<json_patch::Patch>,
}

/// What the routes of a new or changed `VirtualService` need, and, unless `is_only_told` or the object is not to be
/// touched, the patch for it. `object` is the object as the API server sent it.
pub fn mutate(world: &World, change: &Change, object: &str, is_only_told: bool) -> Mutation {
    let Some(Resource::VirtualService(vs)) = change.after() else {
        return Mutation::default();
    };
    if is_opted_out(vs) {
        return Mutation::default();
    }
    let [before, after] = change.views(&base_view(world, None));
    let edits = edits(&after, Some(&before), vs);
    if edits.is_empty() || is_only_told || is_left_alone(vs) {
        return Mutation { edits, patch: None };
    }
    let patch = serde_json::from_str::<Value>(object).ok().and_then(|object| {
        let edited = apply(&object, &edits)?;
        Some(json_patch::diff(&object, &edited))
    });
    Mutation { edits, patch }
}
