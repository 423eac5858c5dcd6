"""The form notation: names become nested values, and nothing that a client sends breaks the decoder."""

import random

import pytest

from kong_gevent.admin import forms
from kong_gevent.errors import HttpError

NOTATION = {
    "a=1": {"a": "1"},
    "a=1&a=2": {"a": ["1", "2"]},
    "a[]=1&a[]=2": {"a": ["1", "2"]},
    "a[1]=1&a[2]=2": {"a": ["1", "2"]},
    "hosts[2]=b.test&hosts[1]=a.test": {"hosts": ["a.test", "b.test"]},
    "hosts[7]=b&hosts[3]=a": {"hosts": ["a", "b"]},
    "config.minute=20": {"config": {"minute": "20"}},
    "a.b.c=1&a.b.d=2": {"a": {"b": {"c": "1", "d": "2"}}},
    "a[b]=1": {"a": {"b": "1"}},
    "a[b.c]=1": {"a": {"b.c": "1"}},
    "a[1].b.c=x": {"a": [{"b": {"c": "x"}}]},
    "sources[1].ip=10.0.0.1&sources[1].port=80&sources[2].port=81": {
        "sources": [{"ip": "10.0.0.1", "port": "80"}, {"port": "81"}]
    },
    "headers.x-ver[]=1&headers.x-ver[]=2": {"headers": {"x-ver": ["1", "2"]}},
    "a%5B%5D=1&a%5b%5d=2": {"a": ["1", "2"]},
    "a=": {"a": None},
    "a.b=": {"a": {"b": None}},
    "a": {"a": True},
    ".a=1": {".a": "1"},
    "a.=1": {"a.": "1"},
    "a..b=1": {"a..b": "1"},
    "[a]=1": {"[a]": "1"},
    "a[=1": {"a[": "1"},
    "a]=1": {"a]": "1"},
    "a[1]x=1": {"a[1]x": "1"},
    "url=http%3A%2F%2Fh%3A81%2Fp": {"url": "http://h:81/p"},
    "a=1+2%2B3": {"a": "1 2+3"},
    "a=b=c": {"a": "b=c"},
    "&&a=1&": {"a": "1"},
    "foo[bar]=1": {"foo": {"bar": "1"}},
    "a[][b]=1&a[][b]=2": {"a": [{"b": ["1", "2"]}]},
    "a=1&a.b=2": {"a": {"b": "2"}},
    "a.b=2&a=1": {"a": {"b": "2"}},
    "a[1]=x&a.b=y": {"a": {"1": "x", "b": "y"}},
    "a[99999999999999999999]=1": {"a": {"99999999999999999999": "1"}},
    "%C3%A9=%C3%A9": {"é": "é"},
    "": {},
}


@pytest.mark.parametrize(("text", "value"), NOTATION.items(), ids=NOTATION)
def test_notation(text, value):
    assert forms.decode(forms.pairs(text.encode())) == value


@pytest.mark.parametrize("text", [b"a=%ff", b"%ff=a", b"a=\xff", b"a=%00", b"a%00=1"])
def test_text_that_no_store_keeps_is_refused(text):
    with pytest.raises(HttpError) as refusal:
        forms.pairs(text)
    assert refusal.value.status == 400


def test_a_thousand_arguments_pass():
    text = b"&".join(b"a%d=1" % number for number in range(1000))
    assert len(forms.pairs(text)) == 1000


def test_one_more_is_refused():
    text = b"&".join(b"a%d=1" % number for number in range(1001))
    with pytest.raises(HttpError, match="Too many arguments"):
        forms.pairs(text)


def test_endless_nesting_is_refused():
    with pytest.raises(HttpError) as refusal:
        forms.decode([("a" + ".b" * 5000, "1")])
    assert refusal.value.status == 400


def test_no_name_breaks_the_decoder():
    source = random.Random(7)
    for _ in range(5000):
        names = ["".join(source.choices("ab.[]1é", k=source.randint(1, 8))) for _ in range(4)]
        made = forms.decode([(name, "x") for name in names])
        assert all(isinstance(key, str) for key in made)
