//! A credential in the wrong hands: what was copied while it was good, used at the cloud itself, without `grantctl`.

use grantd_tests::{Credentials, User};
use serde_json::Value;

use crate::stage::{Cloud, Clouds};

impl Clouds {
    /// Whether the cloud lets a credential, as the daemon sent it, read the object of a bucket or container. A refusal must
    /// be one for want of rights.
    pub fn can_read(&self, cloud: Cloud, credential: &Value, place: &str) -> bool {
        let text = |name: &str| credential[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        match cloud {
            Cloud::Aws => {
                let credentials = Credentials {
                    access_key_id: text("access_key_id"),
                    secret_access_key: text("secret_access_key"),
                    session_token: Some(text("session_token")),
                };
                let code = format!(
                    "import boto3\nfrom botocore.config import Config\n\
                     s3 = boto3.client('s3', config=Config(s3={{'addressing_style': 'path'}}))\n\
                     print(s3.get_object(Bucket='{place}', Key='hello.txt')['Body'].read().decode(), end='')"
                );
                let done = self.alice().credentials(&credentials).python(&code);
                assert!(done.success() || done.stderr.contains("AccessDenied"), "neither read nor refused: {done}");
                done.success()
            }
            Cloud::Azure => self.token_reads(cloud, credential["tokens"][0]["token"].as_str().unwrap(), place),
            Cloud::Gcp => self.token_reads(cloud, &text("access_token"), place),
        }
    }

    /// The same of a bare token.
    pub fn token_reads(&self, cloud: Cloud, token: &str, place: &str) -> bool {
        if cloud == Cloud::Gcp {
            let status = self.google.read(token, place, "in/hello.txt");
            assert!(matches!(status, 200 | 403), "neither read nor refused: {status}");
            return status == 200;
        }
        let authority = self.scene.config().join("azure-ca.pem").display().to_string();
        let (url, header) =
            (format!("{}/{place}/hello.txt", self.storage(cloud)), format!("Authorization: Bearer {token}"));
        let line = ["--silent", "--cacert", &authority, "-H", "x-ms-version: 2023-11-03", "-H", &header, &url];
        let done = self.scene.caller(User::Bob).run("curl", &line);
        let read = done.stdout == format!("hello from {place}");
        assert!(read || done.stdout.contains("AuthorizationPermissionMismatch"), "neither read nor refused: {done}");
        read
    }
}
