// Command walk does what an operator's guide says, on fresh Debian machines, so that
// the guide says what works. As root, on Debian with debootstrap and
// systemd-container:
//
//	go run ./walk [-guide ../docs/operations.md] [-dist ../dist] [-base DIR]
//
// A block of the guide that begins with ```sh NAME is run by bash, as root, on the
// machine of that name, which is made when it is first met: a Debian with systemd as
// its process 1 and a network that it shares with the others alone. /media/stick is
// the same on all of them. A comment says what else happens or must be so:
//
//	<!-- walk: expect REGEXP -->    the block before printed this
//	<!-- walk: refer DOMAIN NAME -->  the domain leads to this machine from now on
//	<!-- walk: lose NAME -->        this machine has burnt
//	<!-- walk: release NAME -->     the next version's package is in new/ there
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	guide := flag.String("guide", "../docs/operations.md", "the guide, in Markdown")
	dist := flag.String("dist", "../dist", "directory with the packages")
	base := flag.String("base", "", "directory with a fresh Debian to begin with; it is made there if it is missing, and left")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := walk(ctx, *guide, *dist, *base); err != nil {
		fmt.Fprintln(os.Stderr, "walk:", err)
		stop()
		os.Exit(1)
	}
}

func walk(ctx context.Context, guide, dist, base string) (err error) {
	text, err := os.ReadFile(guide)
	if err != nil {
		return err
	}
	steps, err := readGuide(string(text))
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("machines are made by root alone")
	}
	scratch, err := os.MkdirTemp("", "zeropass-walk-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }() // what is left there harms nobody
	if base == "" {
		base = filepath.Join(scratch, "base")
	}
	if err := debian(ctx, base); err != nil {
		return err
	}
	site := &site{dir: scratch, base: base, dist: dist, machines: map[string]*machine{}, domains: map[string]string{}}
	if err := site.connect(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	begin, blocks, output := time.Now(), 0, ""
	for _, s := range steps {
		switch s.kind {
		case "run":
			blocks++
			fmt.Printf("\n=== %s, line %d, on %s\n%s---\n", s.heading, s.line, s.words[0], s.text)
			if output, err = site.run(ctx, s.words[0], s.text); err != nil {
				return fmt.Errorf("%s:%d: %w", guide, s.line, err)
			}
		case "expect":
			pattern := strings.Join(s.words, " ")
			if !regexp.MustCompile(pattern).MatchString(output) {
				return fmt.Errorf("%s:%d: the block before did not print %s", guide, s.line, pattern)
			}
			fmt.Printf("+++ as expected: %s\n", pattern)
		case "refer":
			site.domains[s.words[0]] = s.words[1]
			err = site.writeHosts()
		case "lose":
			err = site.lose(s.words[0])
		case "release":
			err = site.release(ctx, s.words[0])
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", guide, s.line, err)
		}
	}
	fmt.Printf("\n%d blocks of %s ran on %d machines in %s\n", blocks, filepath.Base(guide), site.made, time.Since(begin).Round(time.Second))
	return nil
}
