package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// manual writes a page in man(7) from what a program says with --help: the program,
// and then each of its commands.
func manual(b *build, program string) ([]byte, error) {
	var page bytes.Buffer
	fmt.Fprintf(&page, ".TH %s 1 %s %q\n", strings.ToUpper(program), b.time.Format("2006-01-02"), program+" "+debianVersion(b.version))
	help, err := helpOf(b, program)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&page, ".SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", program, purposes[program])
	verbatim(&page, help)
	if err := commands(&page, b, program, nil, help); err != nil {
		return nil, err
	}
	return page.Bytes(), nil
}

var purposes = map[string]string{
	"zeropass-server":  "the server of ZeroPass",
	"zeropass":         "keep secrets so that they are never lost and nobody else can take them",
	"zeropass-recover": "bring an account of ZeroPass back without the server",
}

var (
	// heading is one in the help that fang lays out; cobra's ends with a colon.
	heading = regexp.MustCompile(`^(?:  [A-Z][A-Z ]*|[A-Z][A-Za-z ]*:)$`)
	// listed is a command in a list of commands.
	listed = regexp.MustCompile(`^ {2,4}([a-z][a-z-]*)(?: |$)`)
)

// commands adds a section for each command below another one.
func commands(page *bytes.Buffer, b *build, program string, above []string, help string) error {
	for _, name := range commandNames(help) {
		path := append(append([]string{}, above...), name)
		below, err := helpOf(b, program, path...)
		if err != nil {
			return err
		}
		fmt.Fprintf(page, ".SH %q\n", program+" "+strings.Join(path, " "))
		verbatim(page, below)
		if err := commands(page, b, program, path, below); err != nil {
			return err
		}
	}
	return nil
}

// commandNames finds the commands that a help text lists.
func commandNames(help string) []string {
	var names []string
	within := false
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, " \n")
		if heading.MatchString(line) {
			switch strings.TrimSpace(line) {
			case "USAGE", "EXAMPLES", "FLAGS", "Usage:", "Examples:", "Flags:", "Global Flags:":
				within = false
			default:
				within = true
			}
		} else if found := listed.FindStringSubmatch(line); within && found != nil && found[1] != "help" && found[1] != "completion" {
			names = append(names, found[1])
		}
	}
	return names
}

func helpOf(b *build, program string, path ...string) (string, error) {
	out, err := exec.Command(b.program(program), append(append([]string{}, path...), "--help")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s --help: %w", program, strings.Join(path, " "), err)
	}
	return string(out), nil
}

// verbatim writes text that is already laid out. A line that begins with a dot or an
// apostrophe would be a request to the formatter, and a plain - a hyphen, which
// nobody can paste into a shell.
func verbatim(page *bytes.Buffer, text string) {
	page.WriteString(".nf\n")
	for line := range strings.Lines(strings.Trim(text, "\n") + "\n") {
		line = strings.TrimRight(line, " \n") + "\n"
		line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		page.WriteString(line)
	}
	page.WriteString(".fi\n")
}
