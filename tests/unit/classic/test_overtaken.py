"""Changes of one object by two writers: each changes what it was asked to change, and nothing of the other's."""

from tests.pem import certificate, private_key


def test_two_changes_of_one_api(api, meanwhile):
    api.made("/apis", "name=a&request_host=a.test&upstream_url=http://h")
    meanwhile(lambda: api.patch("/apis/a", "upstream_url=http://other&preserve_host=true"))
    status, changed = api.patch("/apis/a", "request_path=/p")
    assert status == 200
    assert (changed["request_host"], changed["request_path"]) == ("a.test", "/p")
    assert (changed["upstream_url"], changed["preserve_host"]) == ("http://other", True)
    assert api.get("/apis/a") == (200, changed)


def test_two_changes_that_leave_an_api_no_place(api, meanwhile):
    api.made("/apis", "name=a&request_host=a.test&request_path=/p&upstream_url=http://h")
    meanwhile(lambda: api.patch("/apis/a", "request_host="))
    assert api.patch("/apis/a", "request_path=")[0] == 400
    assert api.get("/apis/a")[1]["request_path"] == "/p"


def test_two_changes_of_one_configuration(api, meanwhile):
    api.made("/apis", "name=a&request_host=a.test&upstream_url=http://h")
    plugin = api.made("/apis/a/plugins", "name=rate-limiting&config.minute=5")["id"]
    meanwhile(lambda: api.patch(f"/apis/a/plugins/{plugin}", "config.minute=7&config.hour=100&enabled=false"))
    status, changed = api.patch(f"/apis/a/plugins/{plugin}", "config.day=1000")
    assert (status, changed["config"]) == (200, {"minute": 7, "hour": 100, "day": 1000})
    assert changed["enabled"] is False


def test_two_changes_of_one_certificate(api, meanwhile):
    api.made("/apis", "name=a&request_host=a.test&upstream_url=http://h")
    body = {"name": "ssl", "config": {"cert": certificate(), "key": private_key()}}
    plugin = api.post("/apis/a/plugins", body)[1]["id"]
    meanwhile(lambda: api.patch(f"/apis/a/plugins/{plugin}", {"config": {"only_https": True}}))
    status, changed = api.patch(f"/apis/a/plugins/{plugin}", {"enabled": False})
    assert (status, changed["enabled"], changed["config"]["only_https"]) == (200, False, True)


def test_an_object_that_goes_meanwhile(api, meanwhile):
    api.made("/apis", "name=a&request_host=a.test&upstream_url=http://h")
    consumer = api.made("/consumers", "username=u")["id"]
    meanwhile(lambda: api.delete("/apis/a"))
    assert api.patch("/apis/a", "request_path=/p")[0] == 404
    meanwhile(lambda: api.delete(f"/consumers/{consumer}"))
    assert api.patch(f"/consumers/{consumer}", "custom_id=c")[0] == 404
