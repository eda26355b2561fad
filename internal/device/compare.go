package device

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// Two devices compare their copies without the server, so that one that shows
// each of them another history is found even if it passes nothing on.

// headPrefix starts the text of a head: the SignedAttestation in unpadded base32
// (RFC 4648 section 6) follows. Case does not count: QR codes store capitals in
// their alphanumeric mode.
const headPrefix = "zeropass-head-1:"

var headEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// maxHeadText is the size in bytes of the longest text that is read as a head.
const maxHeadText = 4096

// HeadText is this device's head, signed, for another device of the account.
// Nothing in it is secret.
type HeadText struct {
	Text   string // one line
	QR     string // text of a QR code
	Device uint64
	Head   ledger.Head
	Time   time.Time
}

// HeadText signs this device's head for [Device.CompareHead] on another device of
// the account. It does not need the server.
func (d *Device) HeadText(ctx context.Context) (*HeadText, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	nonce, err := d.nonce()
	if err != nil {
		return nil, explain(err, "sign the head")
	}
	b, err := d.ownAttestation(nonce)
	if err != nil {
		return nil, explain(err, "sign the head")
	}
	a, err := ledger.ParseAttestation(b)
	if err != nil {
		return nil, explain(err, "sign the head")
	}
	text := headEncoding.EncodeToString(b)
	return &HeadText{
		Text: headPrefix + strings.ToLower(text), QR: strings.ToUpper(headPrefix) + text,
		Device: d.keys.Device, Head: a.Head(), Time: a.Time(),
	}, ctx.Err()
}

// parseHeadText reads what HeadText wrote.
func parseHeadText(text string) (*ledger.Attestation, error) {
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	encoded, ok := strings.CutPrefix(text, strings.ToUpper(headPrefix))
	if !ok || len(text) > maxHeadText {
		return nil, failure(CodeUsage, nil, "zeropass ledger head prints one on the other device", "this is not the text of a head: it starts with %s", headPrefix)
	}
	b, err := headEncoding.DecodeString(encoded)
	if err != nil {
		return nil, failure(CodeUsage, err, "copy the whole line again", "the text of the head is not complete")
	}
	a, err := ledger.ParseAttestation(b)
	if errors.Is(err, ledger.ErrNewer) {
		return nil, explain(err, "read the head")
	}
	if err != nil || a.Holder().GetKind() != recordv1.Holder_KIND_DEVICE {
		return nil, failure(CodeUsage, err, "copy the whole line again", "the text is not the head of a device")
	}
	return a, nil
}

// Match says how another device's copy lies to this one.
type Match string

// The ways in which two copies lie to each other.
const (
	SameHead  Match = "same"
	HeadIsOld Match = "behind" // the other device's head is an older one of this history
	HeadIsNew Match = "ahead"  // the other device has more entries; the other way round decides
	HeadForks Match = "fork"   // two histories
)

// Comparison is what comparing another device's head showed.
type Comparison struct {
	Match  Match
	Device uint64
	Theirs ledger.Head
	Time   time.Time // when the other device signed, by its clock
	Own    ledger.Head
	Stop   error // of a fork: what a person is told, and what to do next
}

// CompareHead compares the head that another device of the account showed with
// this device's ledger, without the server. A fork is kept as evidence, and stops
// this device as one that the server shows does. One that is ahead is remembered:
// the next [Device.Sync] that brings its entries decides.
func (d *Device) CompareHead(ctx context.Context, text string) (*Comparison, error) {
	if err := d.readable(); err != nil {
		return nil, err
	}
	a, err := parseHeadText(text)
	if err != nil {
		return nil, err
	}
	if err := d.checkShown(a); err != nil {
		return nil, err
	}
	c := &Comparison{Device: a.Holder().GetNumber(), Theirs: a.Head(), Time: a.Time(), Own: d.Head()}
	switch s := d.home.State(); {
	case a.Head() == s.Head():
		c.Match = SameHead
	case s.Contains(a.Head()):
		c.Match = HeadIsOld
	case a.Head().Sequence > s.Head().Sequence:
		c.Match = HeadIsNew
	default:
		c.Match = HeadForks
	}
	switch c.Match {
	case SameHead, HeadIsOld:
		err = errors.Join(d.keepCopy(a), d.forgetShown(c.Device))
	case HeadIsNew:
		err = d.rememberShown(a)
	case HeadForks:
		if c.Stop = d.stopAt(a); !errors.Is(c.Stop, ErrFork) {
			err = c.Stop
		}
	}
	if err != nil {
		return nil, explain(err, "remember what the other device showed")
	}
	return c, ctx.Err()
}

// checkShown returns an error unless another active device of this account signed
// the head.
func (d *Device) checkShown(a *ledger.Attestation) error {
	s := d.home.State()
	number := a.Holder().GetNumber()
	other, ok := s.Device(number)
	switch {
	case a.Account() != d.keys.Account:
		return failure(CodeUsage, nil, "show the head of another device of the same account", "this is the head of another account, not of %s", d.Name())
	case !ok:
		return failure(CodeFailed, nil, "run zeropass sync, then compare again; if it stays unknown, the server shows the two devices different histories",
			"this device's ledger has no device %d", number)
	case s.CheckAttestation(a) != nil:
		return failure(CodeFailed, nil, "show the head again on that device, and copy the whole line", "device %d of %s did not sign this head", number, d.Name())
	case number == d.keys.Device:
		return failure(CodeUsage, nil, "run zeropass ledger compare on the other device with this text", "this is this device's own head")
	case other.Status != ledger.Active:
		return failure(CodeFailed, nil, "compare with a device that is active", "device %d of %s is %s: what it shows proves nothing", number, d.Name(), other.Status)
	}
	return nil
}

// shownFile keeps the newest head of each device that was compared here and was
// ahead of this device.
const shownFile = "shown-heads"

type shownHeads struct {
	Heads [][]byte // SignedAttestations
}

func (d *Device) shown() ([]*ledger.Attestation, error) {
	kept, err := load[shownHeads](d, shownFile)
	if err != nil || kept == nil {
		return nil, err
	}
	var all []*ledger.Attestation
	for _, b := range kept.Heads {
		a, err := ledger.ParseAttestation(b)
		if err != nil {
			return nil, fmt.Errorf("device: private/%s: %w", shownFile, err)
		}
		all = append(all, a)
	}
	return all, nil
}

func (d *Device) rememberShown(a *ledger.Attestation) error {
	all, err := d.shown()
	if err != nil {
		return err
	}
	return d.saveShown(append(without(all, a.Holder().GetNumber()), a))
}

func (d *Device) forgetShown(device uint64) error {
	all, err := d.shown()
	if err != nil || len(all) == 0 {
		return err
	}
	return d.saveShown(without(all, device))
}

func without(all []*ledger.Attestation, device uint64) []*ledger.Attestation {
	return slices.DeleteFunc(all, func(a *ledger.Attestation) bool { return a.Holder().GetNumber() == device })
}

func (d *Device) saveShown(all []*ledger.Attestation) error {
	if len(all) == 0 {
		return d.home.RemovePrivate(shownFile)
	}
	kept := shownHeads{}
	for _, a := range all {
		kept.Heads = append(kept.Heads, a.Bytes())
	}
	return d.save(shownFile, kept)
}

// settleShown looks again at the heads that were ahead of this device, with the
// entries that have come since. One that is still ahead stays, and status names
// it: the server was restored, or withholds what it stands for.
func (d *Device) settleShown() error {
	all, err := d.shown()
	if err != nil {
		return err
	}
	for _, a := range all {
		s := d.home.State()
		number := a.Holder().GetNumber()
		other, ok := s.Device(number)
		switch {
		case s.Contains(a.Head()):
			err = errors.Join(d.keepCopy(a), d.forgetShown(number))
		case !ok || other.Status != ledger.Active:
			err = d.forgetShown(number)
		case a.Head().Sequence <= s.Head().Sequence:
			err = errors.Join(d.forgetShown(number), d.stopAt(a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
