#!/usr/bin/env python3
"""Writes rendered.json: what jinja2 makes of conversations with published chat templates.

usage: render.py TEMPLATES.json OUT.json     (needs: jinja2 >= 3.1)
TEMPLATES.json is a list of {"format", "source", "text"}: the format in configs/chat-templates that shall render the same,
whose template it is, and its text. The texts belong to their authors and stay with them: OUT.json and the formats hold
hash and length of the folded text (runtime/text/chat/jinja_text.h says what folding is). The environment is that of
transformers' apply_chat_template. An output is null where the template raises an error.
"""
import json
import sys

import jinja2.ext
import jinja2.sandbox

CONVERSATIONS = [
    ["user", "Hello"],
    ["user", "Hello", "assistant", "Hi there", "user", " Who are you? \n"],
    ["system", "Be brief.", "user", "Hello"],
    ["system", "Be brief.", "user", "Hello", "assistant", "Hi there", "user", "Again", "assistant", "Hi", "user", "Bye"],
    ["system", " \tS\u00a0\n", "user", "\u3000padded\u2028 ", "assistant", "\n\nx \u0085", "user", "\x1c \u200b \x1f"],
    ["system", "", "user", "empty system"],
    ["user", "", "assistant", " ", "user", ""],
    ["user", "{{ bos_token }} {content} {content|trim} '\"\\n", "assistant", "{% if %}", "user", "größe 🙂"],
    ["user", "one", "user", "two"],
    ["user", "one", "assistant", "two", "system", "late", "user", "three"],
    ["assistant", "first", "user", "second"],
    ["system", "a", "system", "b", "user", "c"],
    ["user", "one", "assistant", "two", "assistant", "three", "user", "four"],
]
# Of these the assistant's last message is to be continued.
CONTINUED = [
    ["user", "Hello", "assistant", "Hi th"],
    ["user", "Hello", "assistant", "Hi", "user", "Again", "assistant", "  Hi again,"],
]


def as_messages(words):
    return [{"role": role, "content": content} for role, content in zip(words[::2], words[1::2])]


def fold_tag(text, at, close):
    """The folded tag that begins at `at`, and where it ends."""
    out, at = text[at:at + 2], at + 2
    if text[at:at + 1] in ("-", "+"):
        out, at = out + text[at], at + 1
    out += " "
    is_word = lambda c: c == "_" or (c.isascii() and c.isalnum()) or not c.isascii()
    space, last = False, " "
    while at < len(text):
        mark = 1 if text[at] in "-+" else 0
        if text[at + mark:at + mark + 2] == close:
            return out + " " + text[at:at + mark + 2], at + mark + 2
        if text[at] in " \t\n\v\f\r":
            space, at = True, at + 1
            continue
        if space and is_word(last) and is_word(text[at]):
            out += " "
        space, last = False, text[at]
        if text[at] not in "'\"":
            out, at = out + text[at], at + 1
            continue
        quote, at = text[at], at + 1
        out += '"'
        while at < len(text) and text[at] != quote:
            if text[at] == "\\" and at + 1 < len(text):
                out, at = out + (text[at + 1] if text[at + 1] == "'" else text[at:at + 2]), at + 2
            else:
                out, at = out + {"\n": "\\n", "\t": "\\t", '"': '\\"'}.get(text[at], text[at]), at + 1
        out, at = out + '"', at + 1
    return out, at


def fold(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text[:-1] if text.endswith("\n") else text
    out, at = "", 0
    while at < len(text):
        if text.startswith("{#", at):
            end = text.find("#}", at + 2)
            end = len(text) if end < 0 else end
        elif text.startswith(("{{", "{%"), at):
            folded, at = fold_tag(text, at, "}}" if text[at + 1] == "{" else "%}")
            out += folded
            continue
        else:
            end = text.find("{", at + 1)
            end = len(text) if end < 0 else end
        out, at = out + text[at:end], end
    return out.encode()


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def render(template, words, add_generation_prompt=True):
    try:
        return template.render(messages=as_messages(words), bos_token="<s>", eos_token="</s>",
                               add_generation_prompt=add_generation_prompt)
    except jinja2.exceptions.TemplateError:
        return None


def render_continued(template, words):
    """As apply_chat_template with continue_final_message: nothing after the message."""
    text = render(template, words, add_generation_prompt=False)
    return None if text is None else text[:text.rindex(words[-1].strip()) + len(words[-1].strip())]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        entries = json.load(file)
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    templates = []
    for entry in entries:
        template, folded = environment.from_string(entry["text"]), fold(entry["text"])
        templates.append({"format": entry["format"], "source": entry["source"], "hash": f"{fnv1a(folded):016x}",
                          "bytes": len(folded), "outputs": [render(template, words) for words in CONVERSATIONS],
                          "continued": [render_continued(template, words) for words in CONTINUED]})
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump({"conversations": [as_messages(words) for words in CONVERSATIONS],
                   "continued": [as_messages(words) for words in CONTINUED], "templates": templates},
                  file, ensure_ascii=True, indent=1)
        file.write("\n")


main()
