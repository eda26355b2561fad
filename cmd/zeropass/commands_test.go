package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

var updateCommands = flag.Bool("update", false, "write the table of commands in docs/commands.md anew")

// leaves are all commands that do something, in the order of the help.
func leaves() []*cobra.Command {
	var all []*cobra.Command
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		// These groups are commands too: they show the keystore, are the agent, show the activity.
		if c.Runnable() && !c.Hidden && (!c.HasSubCommands() || name(c) == "device keystore" || name(c) == "agent" || name(c) == "activity") {
			all = append(all, c)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&app{}))
	return all
}

// name is what is typed after zeropass.
func name(c *cobra.Command) string { return strings.TrimPrefix(c.CommandPath(), "zeropass ") }

const commandsDoc = "../../docs/commands.md"

var commandTable = regexp.MustCompile(`(?s)(## All commands\n\n\| command \| what it does \|\n\|---\|---\|\n)(.*?)(\n\n)`)

// Every command stands in docs/commands.md, and no other one.
func TestEveryCommandIsDocumented(t *testing.T) {
	b, err := os.ReadFile(commandsDoc)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, c := range leaves() {
		rows = append(rows, fmt.Sprintf("| `%s` | %s |", name(c), c.Short))
	}
	want := strings.Join(rows, "\n")
	parts := commandTable.FindStringSubmatchIndex(string(b))
	if parts == nil {
		t.Fatal("docs/commands.md has no table of all commands")
	}
	if got := string(b[parts[4]:parts[5]]); got == want {
		return
	} else if !*updateCommands {
		t.Fatalf("the table of all commands in docs/commands.md is not what the program has; write it anew with\n\n\tgo test ./cmd/zeropass -run TestEveryCommandIsDocumented -update\n\nhave:\n%s\nwant:\n%s", got, want)
	}
	if err := os.WriteFile(commandsDoc, []byte(string(b[:parts[4]])+want+string(b[parts[5]:])), 0o666); err != nil {
		t.Fatal(err)
	}
}

// elsewhere are commands that this test does not run, because other scripts do.
var elsewhere = map[string]string{
	"demo":                    "demo.txtar: it takes a while",
	"watch":                   "alarms.txtar: it stays",
	"unlock":                  "agent.txtar: it leaves an agent behind",
	"agent":                   "agent.txtar: likewise",
	"device keystore tpm":     "keystore.txtar: it takes a TPM",
	"device keystore keyring": "keystore.txtar: it takes a keyring",
}

// done are the arguments with which commands succeed on the home of json.txtar.
// All others must fail there, for want of what they need, or succeed without
// arguments.
var done = map[string][]string{
	"status":              nil, // NOT RECOVERABLE is an answer
	"sync":                nil,
	"add":                 {"--title", "second", "--secret-file", "secret"},
	"get":                 {"first"},
	"list":                nil,
	"edit":                {"first", "--title", "renamed"},
	"delete":              {"second", "--yes"},
	"export":              {"--output", "all.json"},
	"pending":             nil,
	"contact invite":      {"Ann"},
	"contact list":        nil,
	"contact paper print": nil,
	"held":                nil,
	"request list":        nil,
	"rotate":              nil,
	"ledger head":         nil,
	"ledger verify":       nil,
	"activity":            nil,
	"alarms show":         nil,
	"policy show":         nil,
	"policy set":          {"--reveals-per-day", "40"},
	"device list":         nil,
	"device rename":       {"other"},
	"device keystore":     nil,
	"passphrase suggest":  nil,
	"version":             nil,
}

// everycommand runs all commands with --json: what they print on standard output
// is JSON, or nothing where they fail.
func cmdEveryCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: everycommand")
	}
	missing := map[string]bool{}
	for n := range done {
		missing[n] = true
	}
	for _, c := range leaves() {
		n := name(c)
		delete(missing, n)
		if elsewhere[n] != "" {
			continue
		}
		more, works := done[n]
		line := append(strings.Fields(n), more...)
		err := ts.Exec("zeropass", append(line, "--json", "--passphrase-file", "pw", "--confirm-passphrase-file", "pw2")...)
		out := ts.ReadFile("stdout")
		if works && out == "" {
			ts.Fatalf("zeropass %s prints nothing with --json: %v", n, err)
		}
		if err == nil && out == "" {
			ts.Fatalf("zeropass %s succeeds and prints nothing with --json", n)
		}
		if values, err := jsonValues(out); err != nil || out != "" && values != 1 {
			ts.Fatalf("zeropass %s --json prints %d values of JSON, %v:\n%s", n, values, err, out)
		}
	}
	if len(missing) > 0 {
		ts.Fatalf("there are no such commands: %v", missing)
	}
}

// jsonValues counts the objects and arrays in a text.
func jsonValues(text string) (n int, err error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var v any
		err := decoder.Decode(&v)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		switch v.(type) {
		case map[string]any, []any:
			n++
		default:
			return n, fmt.Errorf("%v is neither an object nor an array", v)
		}
	}
}
