//! The few API calls that make an endpoint.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use sagebrush_aws::sigv4::Signer;
use serde_json::{Value, json};

use super::Bench;
use super::load::{Connection, SIGNER, request};
use super::side::pack;
use crate::process::now;

const BUCKET: &str = "bench";
const ROLE: &str = "arn:aws:iam::123456789012:role/SageMakerRole";
const GONE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Aws<'a> {
    bench: &'a Bench,
    address: &'a str,
}

impl<'a> Aws<'a> {
    pub(super) fn new(bench: &'a Bench, address: &'a str) -> Self {
        Self { bench, address }
    }

    /// Puts a folder as `<name>/model.tar.gz` into the bucket; returns its URL.
    pub(super) fn upload_folder(&self, name: &str, folder: &Path) -> Result<String> {
        self.upload(&[(format!("{name}/model.tar.gz"), pack(folder)?)])?;
        Ok(format!("s3://{BUCKET}/{name}/model.tar.gz"))
    }

    /// Puts objects into the bucket; returns its URL.
    pub(super) fn upload(&self, objects: &[(String, Vec<u8>)]) -> Result<String> {
        let signer = Signer { service: "s3", ..SIGNER };
        self.call(("PUT", &format!("/{BUCKET}")), &[], b"", &signer)?;
        for (key, body) in objects {
            self.call(("PUT", &format!("/{BUCKET}/{key}")), &[], body, &signer)?;
        }
        Ok(format!("s3://{BUCKET}/"))
    }

    /// The model and the configuration of an endpoint, both by its name.
    pub(super) fn create_config(
        &self,
        name: &str,
        image: &str,
        url: &str,
        mode: Option<&str>,
        environment: &[(&'static str, String)],
    ) -> Result<()> {
        let environment: serde_json::Map<String, Value> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut container =
            json!({ "Image": image, "ModelDataUrl": url, "Environment": environment });
        if let (Some(mode), Some(members)) = (mode, container.as_object_mut()) {
            members.insert("Mode".to_owned(), json!(mode));
        }
        self.sagemaker(
            "CreateModel",
            &json!({
                "ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": ROLE,
            }),
        )?;
        let variant = json!({
            "VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1,
            "InstanceType": instance_type(self.bench.cores),
        });
        self.sagemaker(
            "CreateEndpointConfig",
            &json!({ "EndpointConfigName": name, "ProductionVariants": [variant] }),
        )?;
        Ok(())
    }

    pub(super) fn create_endpoint(&self, name: &str) -> Result<()> {
        let wanted = json!({ "EndpointName": name, "EndpointConfigName": name });
        self.sagemaker("CreateEndpoint", &wanted).map(drop)
    }

    /// Deletes it, and waits until it is gone.
    pub(super) fn delete_endpoint(&self, name: &str) -> Result<()> {
        self.sagemaker("DeleteEndpoint", &json!({ "EndpointName": name }))?;
        let began = now();
        while began.elapsed() < GONE_WITHIN {
            let listed = self.sagemaker("ListEndpoints", &json!({ "NameContains": name }))?;
            let left = listed.get("Endpoints").and_then(Value::as_array);
            if left.is_none_or(Vec::is_empty) {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("the endpoint {name} is not gone after {GONE_WITHIN:?}");
    }

    fn sagemaker(&self, operation: &str, body: &Value) -> Result<Value> {
        let headers = [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", format!("SageMaker.{operation}")),
        ];
        let answer = self.call(("POST", "/"), &headers, body.to_string().as_bytes(), &SIGNER)?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    fn call(
        &self,
        (method, path): (&str, &str),
        headers: &[(&'static str, String)],
        body: &[u8],
        signer: &Signer<'_>,
    ) -> Result<Vec<u8>> {
        let bytes = request((method, self.address, path), headers, body, Some(signer))?;
        let mut connection = Connection::new(self.address);
        let answer = self.bench.runtime.block_on(connection.call(&bytes))?;
        if answer.status / 100 != 2 {
            let said = String::from_utf8_lossy(answer.body);
            bail!("{method} {path} was answered {}: {said}", answer.status);
        }
        Ok(answer.body.to_vec())
    }
}

/// One with as many CPUs as the machine has, if there is one.
fn instance_type(cores: usize) -> &'static str {
    match cores {
        0..=2 => "ml.m5.large",
        3..=4 => "ml.m5.xlarge",
        5..=8 => "ml.m5.2xlarge",
        9..=16 => "ml.m5.4xlarge",
        17..=48 => "ml.m5.12xlarge",
        49.. => "ml.m5.24xlarge",
    }
}
