"""Steers generated runs to the image that every test has: made-up images would all end at the server's policy, and a
pull would leave this machine. What is not a sound request anyway stays as it is, and so do all other fields."""

import re

import schemathesis

IMAGE = re.compile(r"[A-Za-z0-9._/:@+-]{1,512}")


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("image"), str) and IMAGE.fullmatch(body["image"]):
        body["image"] = "oneoff-test:latest"
        if body.get("pull_policy") in (None, "always", "missing"):
            body["pull_policy"] = "never"
    return body
