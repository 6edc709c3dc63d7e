"""What every service's table of scopes is tested with: bearer tokens that are what they say."""

import re

import httpx
from fastapi import APIRouter
from fastapi.routing import APIRoute

from kaa_common.access import Access
from kaa_common.rest import PublicRoute, rest_api, scope_of

Scopes = dict[str, str]
"""The scope of each route, by `<method> <path>`."""


class PlainTokens:
    """The scopes of a token are its text, comma-separated."""

    async def scopes_of(self, token: str) -> frozenset[str]:
        return frozenset(token.split(","))


def declared_scopes(router: APIRouter) -> Scopes:
    """What the routes declare; public ones declare nothing."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) == len(router.routes)
    routes = [route for route in routes if not isinstance(route, PublicRoute)]
    return {f"{method} {route.path}": scope_of(route) for route in routes for method in route.methods or ()}


async def answers(router: APIRouter, tokens: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Status code and text of each route's answer to this token, and to a body that is not JSON."""
    api = rest_api("Tested", "", "/tested", router, Access("", PlainTokens()))
    answered = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test/tested/api/v1") as client:
        for route, token in tokens.items():
            method, path = route.split(" ")
            headers = {"Authorization": f"bearer {token}", "Content-Type": "application/json"}
            response = await client.request(method, re.sub(r"\{\w+\}", "some", path), headers=headers, content=b"{")
            answered[route] = (response.status_code, response.text)
    return answered


def all_but(scope: str, scopes: Scopes) -> str:
    """A token with every other scope."""
    return ",".join({"other", *scopes.values()} - {scope})


def refusal(route: str, scope: str) -> tuple[int, str]:
    """A read that names a resource finds nothing; whatever else names the scope that is missing."""
    if route.startswith("GET ") and "{" in route:
        return 404, f'{{"message":"nothing is found without the scope {scope}"}}'
    return 403, f'{{"message":"the scope {scope} is required"}}'
