package device

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"zeropass.dev/zeropass/internal/api"
)

// A server could leave a reveal out of the activity log from the start: its chain
// would still be whole. But the device that asked knows of it. What it was given is
// in the log by then, so the next copy of the log must have it.

// ownReveal is a reveal that this device was given.
type ownReveal struct {
	Request string // hash of its header, in hexadecimal
	After   uint64 // newest entry of the activity log that was here then
	At      time.Time
	Missing bool // a later copy of the log did not have it
}

type ownReveals struct{ Reveals []ownReveal }

const (
	ownRevealsFile = "own-reveals"
	maxOwnReveals  = 1000 // that wait to be seen, or are missing; the oldest go
)

// rememberReveal notes a reveal that the server has answered.
func (d *Device) rememberReveal(request [32]byte) error {
	own, err := d.ownReveals()
	if err != nil {
		return err
	}
	next := ownReveal{Request: hex.EncodeToString(request[:]), At: d.o.Now()}
	if last := d.home.LastActivity(); last != nil {
		next.After = last.Sequence()
	}
	own.Reveals = append(own.Reveals, next)
	own.Reveals = own.Reveals[max(0, len(own.Reveals)-maxOwnReveals):]
	return d.save(ownRevealsFile, own)
}

func (d *Device) ownReveals() (*ownReveals, error) {
	own, err := load[ownReveals](d, ownRevealsFile)
	if err != nil || own != nil {
		return own, err
	}
	return &ownReveals{}, nil
}

// findReveals looks for them in the activity log, which was replicated to its end
// just now, and notes what is missing there.
func (d *Device) findReveals(result *SyncResult) error {
	own, err := d.ownReveals()
	if err != nil || len(own.Reveals) == 0 {
		return err
	}
	after := slices.MinFunc(own.Reveals, func(a, b ownReveal) int { return cmp.Compare(a.After, b.After) }).After
	b, err := d.activityBranch()
	if err != nil {
		return err
	}
	if !b.Seen.IsZero() { // what was asked before the server's branch was followed may stand anywhere in it
		after = min(after, b.Common)
	}
	logged, err := d.loggedAfter(after)
	if err != nil {
		return err
	}
	own.Reveals = slices.DeleteFunc(own.Reveals, func(r ownReveal) bool { return logged[r.Request] })
	for i := range own.Reveals {
		own.Reveals[i].Missing = true
	}
	if text := own.missing(); text != "" {
		result.note("%s", text)
	}
	return d.save(ownRevealsFile, own)
}

// loggedAfter returns the hashes of the requests in the activity log after an
// entry, in hexadecimal.
func (d *Device) loggedAfter(after uint64) (map[string]bool, error) {
	logged := map[string]bool{}
	for {
		page, err := d.home.Activity(after, activityAtOnce)
		if err != nil || len(page) == 0 {
			return logged, err
		}
		for _, a := range page {
			if request, _, err := api.ParseLogged(a.Request()); err == nil && len(request.Confirmations()) > 0 {
				logged[hex.EncodeToString(request.Hash[:])] = true
			}
		}
		after = page[len(page)-1].Sequence()
	}
}

// missing says in words which reveals the activity log lacks; empty if it has all.
func (o *ownReveals) missing() string {
	var newest time.Time
	n := 0
	for _, r := range o.Reveals {
		if r.Missing {
			n++
			newest = r.At
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("the server's activity log lacks %s of this device, the newest of %s: the server leaves out what it gave, or it was restored from an older copy",
		count(n, "reveal"), newest.Local().Format(time.DateTime))
}
