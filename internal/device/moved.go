package device

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// A server is its keys; its address is only where it is found. It may move: then the
// device goes where the same keys answer, over the same ledger, and nowhere else.

// Move says that the server is reached elsewhere from some time on.
type Move struct {
	From, To  string
	At        time.Time
	Announced bool // by the server itself at From, rather than by a person
}

// movedFile is what the device remembers of the last move. It is written before the
// address, and counts where it names that.
const movedFile = "server-moved"

// lastMove returns how the server came to its address; nil if it never moved.
func (d *Device) lastMove() (*Move, error) {
	m, err := load[Move](d, movedFile)
	if err != nil || m == nil || m.To != d.home.Config().GetUrl() {
		return nil, err
	}
	return m, nil
}

// ServerResult is the server of the account.
type ServerResult struct {
	URL         string // where it is reached
	Named       string // its address in the ledger: that of the day when the account was made
	Fingerprint string // of its keys, as zeropass-server prints it
	SignKey     string // hexadecimal
	Moved       *Move  // the last time; nil if it never moved
}

// Server says which server this is and where. It does not ask it.
func (d *Device) Server() (*ServerResult, error) {
	move, err := d.lastMove()
	if err != nil {
		return nil, explain(err, "read where the server was")
	}
	s := d.where()
	return &ServerResult{
		URL: s.Url, Named: d.pinned().Url, Fingerprint: fingerprint(s), SignKey: hex.EncodeToString(s.SignKey), Moved: move,
	}, nil
}

// MoveServer makes the device reach its server at another address from now on. What
// answers there must prove the pinned keys, know this account and have its ledger:
// a prefix of this device's, or one that goes on from it. restored leaves out the
// last two, for a server whose data are older than the account or the device, or went
// another way: the next sync deals with that. It does not need the old address, and
// changes nothing unless it returns nil.
func (d *Device) MoveServer(ctx context.Context, url string, restored bool) (*ServerResult, error) {
	d.moving.Lock()
	defer d.moving.Unlock()
	to, err := client.Locate(ctx, d.o.HTTP, "", url, d.where(), d.o.Rand)
	if err == nil && !restored {
		err = d.knownAt(ctx, to)
	}
	if err != nil {
		return nil, notMoved(err, url)
	}
	if err := d.moveTo(Move{From: d.client.URL(), To: to, At: d.o.Now().UTC()}); err != nil {
		return nil, err
	}
	return d.Server()
}

// reachAt goes on at another address with what was begun and has no account yet.
func (d *Device) reachAt(ctx context.Context, url string) error {
	if url == "" || strings.TrimRight(url, "/") == d.client.URL() {
		return nil
	}
	_, err := d.MoveServer(ctx, url, true)
	return err
}

// follow goes where the server at from says that it is now.
func (d *Device) follow(ctx context.Context, from, announced string) error {
	d.moving.Lock()
	defer d.moving.Unlock()
	if d.client.URL() != from {
		return nil // another operation has followed meanwhile
	}
	to, err := client.Locate(ctx, d.o.HTTP, from, announced, d.where(), d.o.Rand)
	if err == nil {
		err = d.knownAt(ctx, to)
	}
	if err != nil {
		return notFollowed(err, from, announced)
	}
	move := Move{From: from, To: to, At: d.o.Now().UTC(), Announced: true}
	if err := d.moveTo(move); err != nil {
		return err
	}
	d.o.Moved(move)
	return nil
}

// moveTo makes a move that was checked durable.
func (d *Device) moveTo(m Move) error {
	if m.From == m.To {
		return nil
	}
	if err := d.save(movedFile, m); err != nil {
		return explain(err, "remember where the server was")
	}
	if err := d.home.SetServerURL(m.To); err != nil {
		return explain(err, "store where the server is")
	}
	return d.client.SetURL(m.To)
}

// knownAt returns an error unless the server at an address knows this device and its
// ledger. A device that is in no ledger yet has nothing to compare.
func (d *Device) knownAt(ctx context.Context, url string) error {
	s := d.home.State()
	if s == nil || d.keys.Device == 0 {
		return nil
	}
	there, err := client.New(d.o.HTTP, url, d.server, d.o.Rand, d.o.Now)
	if err != nil {
		return err
	}
	nonce, err := d.nonce()
	if err != nil {
		return err
	}
	page, err := there.Entries(ctx, d.identity(), &apiv1.EntriesRequest{After: s.Head().Sequence, Nonce: nonce})
	if signed(err) {
		for _, known := range []error{api.ErrDeviceLocked, api.ErrDeviceRevoked, api.ErrAccountLocked, api.ErrAccountDeleted} {
			if errors.Is(err, known) {
				return nil // which is what it says everywhere
			}
		}
	}
	if err != nil {
		return err
	}
	proof, err := d.serverProof(page.Attestation, nonce)
	if err != nil {
		return err
	}
	return continues(s, proof.Head(), page.Entries)
}

// errOtherLedger: the server's ledger is neither a prefix of the device's nor one that
// goes on from it.
var errOtherLedger = errors.New("its ledger of the account is another one")

// continues compares a head, and the entries up to it, with the device's.
func continues(s *ledger.State, theirs ledger.Head, shown [][]byte) error {
	if theirs.Sequence <= s.Head().Sequence {
		if !s.Contains(theirs) {
			return errOtherLedger
		}
		return nil
	}
	entries, err := parseShown(shown)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("%w: it attests entry %d and shows none after %d", client.ErrDishonest, theirs.Sequence, s.Head().Sequence)
	}
	if first := entries[0]; first.Sequence() != s.Head().Sequence+1 || first.Previous() != s.Head().Hash {
		return errOtherLedger
	}
	return nil
}

// notMoved explains why a person's word is not taken.
func notMoved(err error, url string) error {
	switch {
	case errors.Is(err, client.ErrURL):
		return failure(CodeUsage, err, "ask whoever runs the server for its address", "%v", err)
	case errors.Is(err, client.ErrUnreachable):
		return failure(CodeUnreachable, err, "see that the address is right and the server runs there, then run the command again", "nothing was changed: %v", err)
	}
	return unmoved(err, "what answers at "+url+" is not taken, and nothing was changed", url)
}

// notFollowed explains why the server's own word is not taken.
func notFollowed(err error, from, to string) error {
	what := fmt.Sprintf("the server at %s says that it has moved to %s; the device stays where it is", from, to)
	switch {
	case errors.Is(err, client.ErrURL), errors.Is(err, client.ErrDowngrade):
		return failure(CodeRefused, err, "ask whoever runs the server for an address with https, and run zeropass server move ADDRESS", "%s: %v", what, err)
	case errors.Is(err, client.ErrUnreachable):
		return failure(CodeUnreachable, err, "run the command again when the server answers there; what was done stays on this device", "%s: %v", what, err)
	}
	return unmoved(err, what, to)
}

// unmoved explains what answers at another address and is not the account's server.
func unmoved(err error, what, url string) error {
	const restored = "ask whoever runs the server; if its data were restored from a copy, run zeropass server move --restored "
	switch {
	case errors.Is(err, client.ErrOtherServer):
		return failure(CodeDishonest, err, "ask whoever runs the server for its address: its fingerprint is the one that zeropass server show says", "%s: its keys are not those of this account's server", what)
	case errors.Is(err, errOtherLedger):
		return failure(CodeDishonest, err, restored+url+", and then zeropass sync", "%s: %v", what, err)
	case errors.Is(err, api.ErrUnknownAccount), errors.Is(err, api.ErrUnknownDevice):
		return failure(CodeNotFound, err, restored+url+", and then zeropass sync, which brings back what it lacks", "%s: %v", what, err)
	case errors.Is(err, client.ErrLoop), errors.Is(err, client.ErrDowngrade):
		return failure(CodeRefused, err, "ask whoever runs the server for its address, and run zeropass server move ADDRESS", "%s: %v", what, err)
	}
	told := explain(err, "compare with what answers at "+url)
	return failure(told.(*Error).Code, err, told.(*Error).Hint, "%s: %v", what, err)
}
