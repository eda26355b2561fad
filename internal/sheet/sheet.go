// Package sheet renders a share on one page, as PDF or as text, for a person who
// finds it in a drawer in ten years. What it returns holds secrets: write it with
// [Write] or to a printer, and clear it.
package sheet

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Sheet is what a page says.
type Sheet struct {
	Account   [32]byte
	Name      string // of the account
	Epoch     uint64
	Member    uint64 // from 1; 0 for the printed sheet of an epoch, which is worth a quorum
	Quorum    int
	Members   int
	Waiting   time.Duration // the epoch's waiting period
	Server    string        // its address
	Printed   time.Time
	CountFrom time.Time // from when the share counts in a recovery; zero for at once

	Words string // with single spaces: 59 of a share, 92 of a printed sheet
	QR    string // text of the QR code
}

// shareWords is how many of a printed sheet's words are its share; the others are
// its approval key.
const shareWords = 59

// purpose says what the page is, to somebody who has forgotten.
const purpose = "ZeroPass is a program that keeps passwords and other secrets. This page helps to get those of one account back."

func (s *Sheet) title() string {
	if s.Member == 0 {
		return "Printed sheet"
	}
	return fmt.Sprintf("Share %d of %d, on paper", s.Member, s.Members)
}

// alone is the warning: what the page can do without anything else, and what not.
func (s *Sheet) alone() []string {
	guard := fmt.Sprintf("Whoever has read this page can ask for a recovery. Your devices are told, and you have %s to veto it, while you have a device.", days(s.Waiting))
	lost := "Lost it, or somebody has seen it? Run: zeropass rotate. The new epoch makes this page worthless."
	switch {
	case s.Member == 0:
		return []string{
			"This page alone opens nothing. Together with the server, or with one of your devices and its passphrase, it opens everything: it is worth as much as a quorum of your contacts.",
			guard, lost,
		}
	case s.Quorum == 1:
		return []string{
			"This page alone opens nothing. Together with the server, or with one of your devices and its passphrase, it opens everything.",
			guard, lost,
		}
	}
	return []string{
		fmt.Sprintf("This page alone opens nothing. %d such shares, together with the server or with one of your devices and its passphrase, open everything. This is one of them.", s.Quorum),
		lost,
	}
}

// fact is one line of the table.
type fact struct{ name, value string }

func (s *Sheet) facts() []fact {
	worth := fmt.Sprintf("one of %d shares; any %d are enough", s.Members, s.Quorum)
	if s.Member == 0 {
		worth = fmt.Sprintf("as much as %d of the %d contacts", s.Quorum, s.Members)
	}
	facts := []fact{
		{"Account", s.Name},
		{"Account id", hex.EncodeToString(s.Account[:])},
		{"Epoch", fmt.Sprintf("%d. A page of an older epoch is worthless once a newer one is committed", s.Epoch)},
		{"Worth", worth},
		{"Server", s.Server},
		{"Waiting period", days(s.Waiting)},
		{"Printed", date(s.Printed)},
	}
	if s.CountFrom.After(s.Printed) {
		facts = append(facts, fact{"Counts from", date(s.CountFrom)})
	}
	return facts
}

// steps is one way back.
type steps struct {
	title string
	lines []string
}

func (s *Sheet) waysBack() []steps {
	words, command := len(strings.Fields(s.Words)), "zeropass recover paper"
	if s.Member == 0 {
		command = "zeropass recover sheet"
	}
	more := ""
	if s.Member != 0 && s.Quorum > 1 {
		more = fmt.Sprintf(" %d of these are needed.", s.Quorum)
	}
	with := steps{"To get everything back, with the server", []string{
		"On a new device: zeropass recover start --server " + quote(s.Server) + " --name " + quote(s.Name),
		fmt.Sprintf("%s, and type the %d words, or paste the text of the code.%s", command, words, more),
		"After " + days(s.Waiting) + ": zeropass recover finish",
	}}
	which := "the words, or the text of the code"
	if s.Member == 0 {
		which = fmt.Sprintf("words 1 to %d, or the text of the code", shareWords)
	}
	without := steps{"Without the server", []string{
		"Have a copy of the directory of one of your devices, and its passphrase.",
		"zeropass-recover --home DIRECTORY --output NEW-FILE, and type " + which + "." + more,
		fmt.Sprintf("Words 1 to %d are a SLIP-39 share; the specification of ZeroPass tells how to go on with other programs.", shareWords),
	}}
	return []steps{with, without}
}

// quote writes a word for a shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@[]") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func date(t time.Time) string { return t.UTC().Format("2 January 2006") }

// days says a period as people do.
func days(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := d / unit.size; d%unit.size == 0 && n == 1 {
			return "1 " + unit.name
		} else if n > 1 && (d%unit.size == 0 || n >= 10) {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}
