package main

import (
	"os"
	"slices"
	"testing"
)

// The guide can be walked, and leads to where it says.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := readGuide(string(text))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	var machines []string
	for _, s := range steps {
		kinds[s.kind]++
		if s.kind == "run" && !slices.Contains(machines, s.words[0]) {
			machines = append(machines, s.words[0])
		}
	}
	if !slices.Equal(machines, []string{"family", "server", "laptop", "elsewhere"}) || kinds["run"] < 20 || kinds["expect"] < 10 || kinds["lose"] != 1 || kinds["release"] != 1 || kinds["refer"] != 2 {
		t.Errorf("machines %v, steps %v", machines, kinds)
	}
}

func TestReadGuide(t *testing.T) {
	steps, err := readGuide("# One\n```sh a\necho 1\n# no heading\n```\n<!-- walk: expect ^1$ -->\n```\nnot run\n```\n```toml\n<!-- walk: lose a -->\n```\n")
	if err != nil || len(steps) != 2 {
		t.Fatalf("%v, %v", steps, err)
	}
	if s := steps[0]; s.kind != "run" || s.words[0] != "a" || s.text != "echo 1\n# no heading\n" || s.heading != "One" || s.line != 2 {
		t.Errorf("%+v", s)
	}
	if s := steps[1]; s.kind != "expect" || !slices.Equal(s.words, []string{"^1$"}) || s.line != 6 {
		t.Errorf("%+v", s)
	}
	for _, wrong := range []string{
		"```sh a\n", "```sh a b\n```\n", "<!-- walk: lose -->", "<!-- walk: lose a b -->", "<!-- walk: refer a -->", "<!-- walk: burn a -->", "<!-- walk: expect ( -->",
	} {
		if steps, err := readGuide(wrong); err == nil {
			t.Errorf("%q is %v", wrong, steps)
		}
	}
}
