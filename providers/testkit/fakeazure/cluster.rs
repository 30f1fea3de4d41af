//! The API server of a managed cluster that leaves both to Azure, who is calling and what they may do ("Use Azure
//! role-based access control for Kubernetes Authorization"): it lists the pods of a namespace, and nothing else.

use hyper::Method;
use serde_json::{Value, json};

use super::Fake;
use super::entra::answer;
use super::roles::{Question, allowed};
use crate::serve::{Call, Reply};

/// The application that every managed cluster with Microsoft Entra takes tokens for ("Use kubelogin with AKS").
pub(super) const SERVER: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

const LIST_PODS: &str = "Microsoft.ContainerService/managedClusters/pods/read";

impl Fake {
    /// `GET /cluster/{name}/api/v1/namespaces/{namespace}/pods`.
    pub(super) fn cluster(&self, call: &Call, name: &str, below: &[&str]) -> Reply {
        let authorization = call.head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let Ok(principal) = self.principal(authorization, &[SERVER]) else {
            return refused(401, "Unauthorized", "Unauthorized");
        };
        let state = self.state();
        let tail = format!("/managedClusters/{name}");
        let scope = state.resources.iter().find(|one| one.ends_with(&tail));
        let (Some(scope), ["api", "v1", "namespaces", namespace, "pods"]) = (scope, below) else {
            return refused(404, "NotFound", "the server could not find the requested resource");
        };
        if call.head.method != Method::GET {
            return refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
        }
        let question = Question {
            principal,
            action: LIST_PODS,
            data: true,
            scope,
            attributes: &[],
            suboperation: None,
            now: self.elapsed(),
        };
        if !allowed(&question, &state.roles, &state.assignments) {
            let text = format!(
                "pods is forbidden: User \"{principal}\" cannot list resource \"pods\" in API group \"\" in the namespace \
                 \"{namespace}\": User does not have access to the resource in Azure. Update role assignment to allow access."
            );
            return refused(403, "Forbidden", &text);
        }
        let pod = json!({ "metadata": { "name": format!("{name}-web-0"), "namespace": namespace }, "spec": { "containers": [] } });
        answer(
            200,
            &json!({ "kind": "PodList", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [pod] }),
        )
    }
}

/// How Kubernetes refuses (Kubernetes API conventions, "Response Status Kind").
fn refused(status: u16, reason: &str, message: &str) -> Reply {
    let body: Value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "code": status,
    });
    answer(status, &body)
}
