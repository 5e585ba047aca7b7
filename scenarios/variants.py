"""Endpoints of several variants, each with a model of its own."""


def variant(name, model, weight=1.0):
    return {
        "VariantName": name, "ModelName": model, "InitialVariantWeight": weight,
        "InitialInstanceCount": 1, "InstanceType": "ml.m5.large",
    }


def config(deploy, suffix, production, shadow=(), **more):
    """Makes a configuration of these variants; returns its name."""
    name = f"{deploy.name}{suffix}"
    if shadow:
        more["ShadowProductionVariants"] = list(shadow)
    deploy.sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=list(production), **more
    )
    deploy.configs.append(name)
    return name


def endpoint(deploy, production, shadow=(), **more):
    """Makes an endpoint of these variants and waits until it is in service; returns its name."""
    made = config(deploy, "", production, shadow, **more)
    deploy.sagemaker.create_endpoint(EndpointName=deploy.name, EndpointConfigName=made)
    deploy.endpoints.append(deploy.name)
    seen = deploy.settled(deploy.name)
    assert seen["EndpointStatus"] == "InService", seen.get("FailureReason")
    return deploy.name
