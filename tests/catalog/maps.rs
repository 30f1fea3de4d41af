//! The shipped maps, and an example of each type of resource in them.

use std::sync::LazyLock;

use grantd_provider_api::{CapabilityMap, Cloud};
use grantd_testkit::repository_root;

pub const CLOUDS: [Cloud; 4] = [Cloud::Aws, Cloud::Azure, Cloud::Gcp, Cloud::Oidc];

/// The text of a map.
pub fn text(cloud: Cloud) -> String {
    let path = repository_root().join(format!("config/entitlements/{cloud}.toml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A map. What it does not know, it refuses.
pub fn map(cloud: Cloud) -> CapabilityMap {
    static MAPS: LazyLock<[CapabilityMap; 4]> = LazyLock::new(|| {
        CLOUDS.map(|cloud| toml::from_str(&text(cloud)).unwrap_or_else(|error| panic!("{cloud}: {error}")))
    });
    let at = CLOUDS.iter().position(|one| *one == cloud).unwrap();
    MAPS[at].clone()
}

/// The native name of an example of what the capability is for, which ends with `name`.
pub fn native(cloud: Cloud, capability: &str, name: &str) -> String {
    let kind = capability.split(':').next().unwrap();
    match cloud {
        Cloud::Aws => aws(kind, name),
        Cloud::Azure => {
            let group = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/jobs/providers";
            format!("{group}/{}/{name}", azure(kind))
        }
        Cloud::Gcp => format!("//{}/{name}", gcp(capability)),
        Cloud::Oidc => format!("https://services.example.com/{name}"),
    }
}

fn aws(kind: &str, name: &str) -> String {
    let place = "eu-west-1:123456789012";
    match kind {
        "object-storage" => format!("arn:aws:s3:::{name}"),
        "dns-zone" => format!("arn:aws:route53:::hostedzone/{name}"),
        "iam-role" => format!("arn:aws:iam::123456789012:role/{name}"),
        "secret" => format!("arn:aws:secretsmanager:{place}:secret:{name}"),
        "kms-key" => format!("arn:aws:kms:{place}:key/{name}"),
        "queue" => format!("arn:aws:sqs:{place}:{name}"),
        "database" => format!("arn:aws:rds:{place}:db:{name}"),
        "database-user" => format!("arn:aws:rds-db:{place}:dbuser:db-ABCDEFGHIJ/{name}"),
        "database-snapshot" => format!("arn:aws:rds:{place}:snapshot:{name}"),
        "container-registry" => format!("arn:aws:ecr:{place}:repository/{name}"),
        "function" => format!("arn:aws:lambda:{place}:function:{name}"),
        "virtual-machine" => format!("arn:aws:ec2:{place}:instance/{name}"),
        "kubernetes-cluster" => format!("arn:aws:eks:{place}:cluster/{name}"),
        other => panic!("no example of {other} on AWS: add one"),
    }
}

fn azure(kind: &str) -> &'static str {
    match kind {
        "object-storage" => "Microsoft.Storage/storageAccounts/data/blobServices/default/containers",
        "queue" => "Microsoft.Storage/storageAccounts/data/queueServices/default/queues",
        "service-bus-queue" => "Microsoft.ServiceBus/namespaces/bus/queues",
        "secret" => "Microsoft.KeyVault/vaults/vault/secrets",
        "kms-key" => "Microsoft.KeyVault/vaults/vault/keys",
        "database" => "Microsoft.Sql/servers/sql/databases",
        "container-registry" => "Microsoft.ContainerRegistry/registries",
        "kubernetes-cluster" => "Microsoft.ContainerService/managedClusters",
        "virtual-machine" => "Microsoft.Compute/virtualMachines",
        "function" => "Microsoft.Web/sites",
        "dns-zone" => "Microsoft.Network/dnszones",
        "iam-role" => "Microsoft.ManagedIdentity/userAssignedIdentities",
        other => panic!("no example of {other} on Azure: add one"),
    }
}

fn gcp(capability: &str) -> &'static str {
    match capability {
        "queue:read" => "pubsub.googleapis.com/projects/acme-prod/subscriptions",
        "queue:write" => "pubsub.googleapis.com/projects/acme-prod/topics",
        other => match other.split(':').next().unwrap() {
            "object-storage" => "storage.googleapis.com/projects/_/buckets",
            "secret" => "secretmanager.googleapis.com/projects/acme-prod/secrets",
            "kms-key" => "cloudkms.googleapis.com/projects/acme-prod/locations/europe-west1/keyRings/ring/cryptoKeys",
            "database" | "database-user" => "cloudsql.googleapis.com/projects/acme-prod/instances",
            "container-registry" => {
                "artifactregistry.googleapis.com/projects/acme-prod/locations/europe-west1/repositories"
            }
            "kubernetes-cluster" => "container.googleapis.com/projects/acme-prod/locations/europe-west1/clusters",
            "virtual-machine" => "compute.googleapis.com/projects/acme-prod/zones/europe-west1-b/instances",
            "function" => "run.googleapis.com/projects/acme-prod/locations/europe-west1/services",
            "dns-zone" => "dns.googleapis.com/projects/acme-prod/managedZones",
            "iam-role" => "iam.googleapis.com/projects/acme-prod/serviceAccounts",
            _ => panic!("no example of {other} on Google Cloud: add one"),
        },
    }
}
