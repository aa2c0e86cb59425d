"""Files and folders that the documentation names are there."""

import fnmatch
import pathlib
import posixpath
import re
import subprocess
import unittest

from support import ROOT, read, run

# What looks like a path of this repository: what begins with a folder of it, or is a file with one of these endings.
WORD = re.compile(r"(?<![\w$~./<>@-])(?:[\w.{},*-]+/)+[\w.{},*-]*")
ENDINGS = (".rs", ".sh", ".py", ".md", ".toml", ".json", ".yaml", ".tpl")
# Names for something else: a feature of a crate.
OTHERS = {"agent-pod/cuda"}


def tracked():
    result = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    if result.returncode != 0:
        raise unittest.SkipTest("this is no checkout of a repository")
    return {name for name in result.stdout.splitlines() if (ROOT / name).exists()}


def alternatives(word):
    """A word with braces, as the shell reads it."""
    braces = re.search(r"\{([^{}]*)\}", word)
    if not braces:
        return [word]
    before, after = word[: braces.start()], word[braces.end() :]
    return [whole for part in braces[1].split(",") for whole in alternatives(before + part + after)]


def named(text, top):
    """The paths that a text names, each with its line."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in WORD.findall(re.sub(r"\w+://\S*", "", line)):
            for path in alternatives(word):
                path = path.rstrip(".,:;/-")
                is_placeholder = any(re.fullmatch(r"[A-Z]{3,}(_[a-z]+)?", part) for part in path.split("/"))
                if "/" in path and not is_placeholder and path not in OTHERS and (path.split("/")[0] in top or path.endswith(ENDINGS)):
                    yield number, path


def anchor(heading):
    """What a link to a heading says, as GitHub makes it."""
    words = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return words.replace(" ", "-")


class Paths(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = tracked()
        cls.folders = {str(folder) for name in cls.files for folder in pathlib.PurePosixPath(name).parents}
        cls.top = {name.split("/")[0] for name in cls.files if "/" in name}

    def is_there(self, path, document):
        """From the repository's root, from the document's folder, or the end of a path whose beginning the text has said."""
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
        there = self.files | self.folders
        if any(fnmatch.filter(there, candidate) for candidate in (path, beside)):
            return True
        return path.split("/")[0] not in self.top and bool(fnmatch.filter(there, f"*/{path}"))

    def test_every_path_that_the_documentation_names_is_there(self):
        documents = sorted(name for name in self.files if name.endswith(".md"))
        self.assertIn("README.md", documents)
        self.assertTrue(self.is_there("charts/tests/test_paths.py", "README.md"))
        self.assertFalse(self.is_there("charts/tests/nowhere.py", "README.md"))
        missing = []
        for document in documents:
            for number, path in named((ROOT / document).read_text(), self.top):
                if not self.is_there(path, document):
                    missing.append(f"{document}:{number}: {path}")
        self.assertEqual(missing, [], "\n" + "\n".join(missing))

    def test_every_link_of_the_documentation_leads_to_a_file_and_a_heading(self):
        documents = {name for name in self.files if name.endswith(".md")}
        headings = {}
        for name in documents:
            lines = (ROOT / name).read_text().splitlines()
            headings[name] = {anchor(line) for line in lines if line.startswith("#")}
        missing = []
        for document in sorted(documents):
            for target in re.findall(r"\]\(([^()\s]+)\)", (ROOT / document).read_text()):
                file, _, heading = target.partition("#")
                if "://" in file:
                    continue
                file = posixpath.normpath(posixpath.join(posixpath.dirname(document), file)) if file else document
                is_there = file in self.files | self.folders and (not heading or heading in headings.get(file, {heading}))
                if not is_there:
                    missing.append(f"{document}: {target}")
        self.assertEqual(missing, [], "\n" + "\n".join(missing))


class Images(unittest.TestCase):
    def test_every_image_that_helm_is_told_of_is_pushed_in_both_ways(self):
        manual = (ROOT / "docs/install.md").read_text()
        told = set(re.findall(r"--set image\.\w+\.repository=(registry\.example\.com/\S+)", manual))
        self.assertEqual(len(told), 3)
        values = read("charts/docket/values.yaml")[0]["image"]
        version = read("charts/docket/Chart.yaml")[0]["appVersion"]
        tags = {f"registry.example.com/{image['repository'].split('/')[1]}": image["tag"] or version for image in values.values()}
        for repository in told:
            image = re.escape(f"{repository}:{tags[repository]}")
            self.assertRegex(manual, rf"(?m)^docker push {image}$")
            self.assertRegex(manual, rf"(?m)^skopeo copy \S+ docker://{image}$")


if __name__ == "__main__":
    unittest.main()
