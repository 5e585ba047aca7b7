"""Endpoints by plain boto3, with everything that was made for them deleted afterwards."""

from botocore.exceptions import ClientError

import support


class Deployment:
    def __init__(self, client, name, bucket):
        self.sagemaker, self.s3 = client("sagemaker"), client("s3")
        self.name, self.bucket = name, bucket
        self.models, self.configs, self.endpoints = [], [], []

    def __call__(self, files=None, *, suffix="", **options):
        """Makes an endpoint and waits until it is in service."""
        name = self.create(files, suffix=suffix, **options)
        seen = self.settled(name)
        assert seen["EndpointStatus"] == "InService", seen.get("FailureReason")
        return name

    def failing(self, files=None, *, suffix="", **options):
        """Makes an endpoint that cannot start; returns the reason that it gives."""
        seen = self.settled(self.create(files, suffix=suffix, **options))
        assert seen["EndpointStatus"] == "Failed", seen
        return seen["FailureReason"]

    def create(self, files=None, *, suffix="", **options):
        """Makes an endpoint and does not wait."""
        config = self.config(files, suffix=suffix, **options)
        name = f"{self.name}{suffix}"
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.endpoints.append(name)
        return name

    def config(self, files=None, *, suffix="", instances=1, serverless=None, managed=None,
               asynchronous=None, capture=None, **options):
        """A configuration of one variant; `managed` is its least and its greatest number."""
        model = self.model(files, suffix=suffix, **options)
        name = f"{self.name}{suffix}"
        variant = {"VariantName": "AllTraffic", "ModelName": model}
        if serverless is not None:
            variant["ServerlessConfig"] = {"MemorySizeInMB": 1024, "MaxConcurrency": 5} | serverless
        else:
            variant |= {"InitialInstanceCount": instances, "InstanceType": "ml.m5.large"}
        if managed:
            variant["ManagedInstanceScaling"] = {
                "Status": "ENABLED",
                "MinInstanceCount": managed[0],
                "MaxInstanceCount": managed[1],
            }
        more = {"AsyncInferenceConfig": asynchronous, "DataCaptureConfig": capture}
        more = {member: value for member, value in more.items() if value is not None}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant], **more
        )
        self.configs.append(name)
        return name

    def model(self, files=None, *, suffix="", containers=None, execution=None,
              role=support.ROLE, **container):
        """A model of one container, or of `containers`, each as `container` takes it."""
        name = f"{self.name}{suffix}"
        if containers is None:
            parts = {"PrimaryContainer": self.container(files, key=name, **container)}
        else:
            each = enumerate(containers, 1)
            parts = {"Containers": [self.container(**one, key=f"{name}-{i}") for i, one in each]}
        if execution is not None:
            parts["InferenceExecutionConfig"] = {"Mode": execution}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, **parts)
        self.models.append(name)
        return name

    def container(self, files=None, *, key, archive=None, url=None, image=support.IMAGE,
                  environment=None, hostname=None, multi_model=False, cache=None):
        """A container's definition; its model goes into the bucket unless `url` names one."""
        if url is None and (files is not None or archive is not None):
            body = archive if archive is not None else support.archive(files)
            self.s3.put_object(Bucket=self.bucket, Key=f"{key}/model.tar.gz", Body=body)
            url = f"s3://{self.bucket}/{key}/model.tar.gz"
        members = {
            "Image": image,
            "ModelDataUrl": url,
            "Environment": environment,
            "ContainerHostname": hostname,
            "Mode": "MultiModel" if multi_model else None,
            "MultiModelConfig": {"ModelCacheSetting": cache} if cache else None,
        }
        return {member: value for member, value in members.items() if value is not None}

    def settled(self, name=None, deadline=90):
        """The description of the endpoint once it is no longer under way."""
        name = name or self.name

        def look():
            seen = self.sagemaker.describe_endpoint(EndpointName=name)
            return seen if seen["EndpointStatus"] in ("InService", "Failed") else None

        return support.wait_for(look, f"endpoint {name} settled", deadline)

    def resolved(self, name=None):
        """What runs behind the endpoint's only variant, as it describes itself."""
        seen = self.sagemaker.describe_endpoint(EndpointName=name or self.name)
        return seen["ProductionVariants"][0]["DeployedImages"][0]["ResolvedImage"]

    def is_isolated(self, name=None):
        """True if its code runs in namespaces of its own."""
        return "isolation=namespaces" in self.resolved(name)

    def delete(self, name=None):
        """Deletes an endpoint and waits until it is gone."""
        name = name or self.name
        self.sagemaker.delete_endpoint(EndpointName=name)
        self.endpoints.remove(name)

        def is_gone():
            listed = self.sagemaker.list_endpoints(NameContains=name)["Endpoints"]
            return name not in [endpoint["EndpointName"] for endpoint in listed]

        support.wait_for(is_gone, f"endpoint {name} is gone", 60)

    def clean(self):
        for name in self.endpoints:
            self._delete(self.sagemaker.delete_endpoint, EndpointName=name)
        for name in self.configs:
            self._delete(self.sagemaker.delete_endpoint_config, EndpointConfigName=name)
        for name in self.models:
            self._delete(self.sagemaker.delete_model, ModelName=name)

    @staticmethod
    def _delete(operation, **what):
        try:
            operation(**what)
        except ClientError as error:
            # Deleted by the test itself.
            assert "Could not find" in error.response["Error"]["Message"], error
