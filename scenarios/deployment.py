"""Endpoints by plain boto3, with everything that was made for them deleted afterwards."""

from botocore.exceptions import ClientError

import support


class Deployment:
    def __init__(self, client, name, bucket):
        self.sagemaker, self.s3 = client("sagemaker"), client("s3")
        self.name, self.bucket = name, bucket
        self.models, self.configs, self.endpoints = [], [], []

    def __call__(self, files=None, *, archive=None, suffix="", **options):
        """Makes an endpoint and waits until it is in service."""
        name = self.create(files, archive=archive, suffix=suffix, **options)
        self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
        return name

    def create(self, files=None, *, archive=None, suffix="", **options):
        """Makes an endpoint and does not wait."""
        config = self.config(files, archive=archive, suffix=suffix, **options)
        name = f"{self.name}{suffix}"
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.endpoints.append(name)
        return name

    def config(self, files=None, *, archive=None, suffix="", instances=1, **options):
        model = self.model(files, archive=archive, suffix=suffix, **options)
        name = f"{self.name}{suffix}"
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": model,
            "InitialInstanceCount": instances,
            "InstanceType": "ml.m5.large",
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.configs.append(name)
        return name

    def model(self, files=None, *, archive=None, suffix="", image=support.IMAGE, url=None):
        name = f"{self.name}{suffix}"
        if url is None:
            key = f"{name}/model.tar.gz"
            body = archive if archive is not None else support.archive(files)
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
            url = f"s3://{self.bucket}/{key}"
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=support.ROLE,
            PrimaryContainer={"Image": image, "ModelDataUrl": url},
        )
        self.models.append(name)
        return name

    def settled(self, name=None):
        """The description of the endpoint once it is no longer under way."""
        name = name or self.name

        def look():
            seen = self.sagemaker.describe_endpoint(EndpointName=name)
            return seen if seen["EndpointStatus"] in ("InService", "Failed") else None

        return support.wait_for(look, f"endpoint {name} settled", 60)

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
