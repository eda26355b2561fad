package main

import (
	"fmt"
	"regexp"
	"strings"
)

// step is a block of the guide, or what a comment in it says.
type step struct {
	kind    string   // run, expect, refer, lose, release
	words   []string // the machine, or what the comment gives
	text    string   // of a block
	heading string
	line    int
}

// arguments are how many words each comment takes.
var arguments = map[string]int{"expect": -1, "refer": 2, "lose": 1, "release": 1}

// readGuide finds the steps of a guide, in their order.
func readGuide(text string) ([]step, error) {
	var steps []step
	var block *step // being read
	var heading string
	inside := false // any block, also one that is not run
	for i, line := range strings.Split(text, "\n") {
		fence, fenced := strings.CutPrefix(line, "```")
		comment, commented := strings.CutPrefix(line, "<!-- walk: ")
		switch {
		case fenced && inside:
			if block != nil {
				steps = append(steps, *block)
			}
			block, inside = nil, false
		case fenced:
			inside = true
			if machine, ok := strings.CutPrefix(fence, "sh "); ok {
				if !machineName.MatchString(machine) {
					return nil, fmt.Errorf("line %d: %q is no name of a machine", i+1, machine)
				}
				block = &step{kind: "run", words: []string{machine}, heading: heading, line: i + 1}
			}
		case inside && block != nil:
			block.text += line + "\n"
		case inside:
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		case commented:
			words := strings.Fields(strings.TrimSuffix(comment, "-->"))
			if len(words) < 2 {
				return nil, fmt.Errorf("line %d: %q says nothing to do", i+1, line)
			}
			if takes, ok := arguments[words[0]]; !ok || takes >= 0 && takes != len(words)-1 {
				return nil, fmt.Errorf("line %d: %q is not understood", i+1, line)
			}
			if words[0] == "expect" {
				if _, err := regexp.Compile(strings.Join(words[1:], " ")); err != nil {
					return nil, fmt.Errorf("line %d: %w", i+1, err)
				}
			}
			steps = append(steps, step{kind: words[0], words: words[1:], heading: heading, line: i + 1})
		}
	}
	if inside {
		return nil, fmt.Errorf("the last block has no end")
	}
	return steps, nil
}

var machineName = regexp.MustCompile(`^[a-z]+$`)
