package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// maxWordsFile is the size in bytes of the largest file of words that is read.
const maxWordsFile = 64 << 10

// given is one share as it was given to the program.
type given struct {
	source string // the file, or which one was typed
	share  *slip39.Share
	place  recovery.Place
	err    error // why it is of no use
}

// readFiles takes the words of the files.
func (p *program) readFiles() error {
	for _, path := range p.words {
		text, err := readSecretFile(path, maxWordsFile, p.report.warn)
		if err != nil {
			return fail(exitFailed, "Give --words a file with the words of one contact, or of the sheet.", "the words cannot be read: %v", err)
		}
		p.take(path, string(text))
		clear(text)
	}
	return nil
}

// take reads words and finds out whose they are.
func (p *program) take(source, text string) given {
	g := given{source: source}
	if g.share, g.err = recovery.ParseShare(text); g.err == nil {
		g.place, g.err = recovery.Identify(g.share, p.state)
	}
	p.given = append(p.given, g)
	if g.err != nil {
		p.terminal.say("%s: %v", source, g.err)
	} else {
		p.terminal.say("%s: %v", source, g.place)
	}
	return g
}

// have returns the usable shares of an epoch, each once.
func (p *program) have(epoch uint64) (shares []*slip39.Share, members []uint64, sheet bool) {
	for _, g := range p.given {
		if g.err != nil || g.place.Epoch != epoch {
			continue
		}
		switch g.place.Holder {
		case recordv1.Holder_KIND_MEMBER:
			if slices.Contains(members, g.place.Member) {
				continue
			}
			members = append(members, g.place.Member)
		case recordv1.Holder_KIND_SHEET:
			sheet = true
		}
		shares = append(shares, g.share)
	}
	slices.Sort(members)
	return shares, members, sheet
}

// enough says whether an epoch's words suffice, beside the device's own share.
func (p *program) enough(e *ledger.Epoch) bool {
	_, members, sheet := p.have(e.Number)
	return sheet || len(members) >= e.Quorum()
}

// askWords asks for words until those of the epoch in use suffice, or the person
// has no more.
func (p *program) askWords(ctx context.Context) error {
	e := p.state.InUse()
	for n := 1; !p.enough(e); n++ {
		if n == 1 {
			p.terminal.say("Type or paste the words of a contact or of the sheet. They are not shown.")
			p.terminal.say("End with an empty line. An empty line at once means that there are no more.")
		}
		_, members, _ := p.have(e.Number)
		p.terminal.say("%d of %d contacts so far. The next words:", len(members), e.Quorum())
		text, err := p.typedWords(ctx)
		if err != nil {
			return err
		}
		if text == "" {
			return nil
		}
		if g := p.take(fmt.Sprintf("typed words %d", n), text); g.err == nil && g.place.Epoch != e.Number {
			p.terminal.say("The account is in epoch %d now: ask for the words of that epoch.", e.Number)
		}
	}
	return nil
}

// typedWords reads words over several lines. A word that is wrong and known by
// its place is asked for again.
func (p *program) typedWords(ctx context.Context) (string, error) {
	var words []string
	for {
		line, err := p.terminal.line(ctx, "")
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			break
		}
		words = append(words, fields...)
	}
	for range 3 {
		var wrong *recovery.WordsError
		if _, err := recovery.ParseShare(strings.Join(words, " ")); !errors.As(err, &wrong) || len(wrong.Positions) == 0 || wrong.Words != len(words) {
			break
		}
		p.terminal.say("%v", wrong)
		for _, i := range wrong.Positions {
			word, err := p.terminal.line(ctx, fmt.Sprintf("Word %d again: ", i))
			if err != nil {
				return "", err
			}
			words[i-1] = strings.TrimSpace(word)
		}
	}
	return strings.Join(words, " "), nil
}

// notEnough says what is missing, in the epoch that lacks least.
func (p *program) notEnough() error {
	e := p.state.InUse()
	_, members, _ := p.have(e.Number)
	have := "none is given"
	if len(members) > 0 {
		have = fmt.Sprintf("given is %s", numbers(members))
	}
	hint := "Give the words of more contacts with --words, once for each."
	if e.SheetKey != nil {
		hint = "Give the words of more contacts, or of the printed sheet, with --words, once for each."
	}
	for _, g := range p.given {
		if g.err != nil {
			hint = fmt.Sprintf("Look at %s again: %v.", g.source, g.err)
			break
		}
		if g.place.Epoch != e.Number {
			hint = fmt.Sprintf("%s has %v; the account is in epoch %d now. Ask that contact for its newest words.", g.source, g.place, e.Number)
		}
	}
	return fail(exitNotYet, hint, "the words of %d contacts of epoch %d are needed, and %s", e.Quorum(), e.Number, have)
}

func numbers(members []uint64) string {
	var s []string
	for _, m := range members {
		s = append(s, fmt.Sprintf("contact %d", m))
	}
	return strings.Join(s, ", ")
}

// readSecretFile reads a small file, and warns if others may read it too.
func readSecretFile(path string, limit int64, warn func(string, ...any)) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		warn("other users of this machine may read %s", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		clear(b)
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}
