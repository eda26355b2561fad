package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// Opened is one live slot, opened as far as it opens. Printed or marshalled to
// JSON it says [secret]; its two parts, which are plain messages, do not.
type Opened struct {
	Slot    ledger.SlotID
	Version uint64 // the one that was opened, or tried
	Epoch   uint64

	Metadata *recordv1.SlotMetadata // nil if it did not open
	Secret   *recordv1.Secret       // nil if it did not open

	// Err says what did not open and why, nil if everything did. It wraps
	// [ErrOtherSplit] for a slot whose newest version is not split in the epoch;
	// an older version that is, is opened in its place.
	Err error
	// NotBackedUp says why device and server alone can open the version: it wraps
	// seed.ErrSlotKey, or says why that could not be found out. It is nil where
	// contacts can open it too.
	NotBackedUp error
}

// Open opens every live slot of the account from the shares of two parties of an
// epoch, at least one of them an [Opener], on all cores. The result has every live
// slot, in the order of their ids, also those that did not open.
//
// It returns an error that wraps [ErrSources] or [ErrNoEpoch], or ctx's.
func Open(ctx context.Context, state *ledger.State, epoch uint64, a, b Source) ([]Opened, error) {
	if _, ok := state.Epoch(epoch); !ok {
		return nil, fmt.Errorf("%w: epoch %d", ErrNoEpoch, epoch)
	}
	o, err := newOpening(state, epoch, a, b)
	if err != nil {
		return nil, err
	}
	return credential.Map(ctx, state.LiveSlots(), func(_ context.Context, slot *ledger.Slot) (Opened, error) {
		return o.slot(slot), nil
	})
}

// opening is two parties at work on an epoch.
type opening struct {
	state   *ledger.State
	epoch   uint64
	sources [2]Source
	openers []Opener
}

func newOpening(state *ledger.State, epoch uint64, a, b Source) (*opening, error) {
	if a.Party() == b.Party() {
		return nil, fmt.Errorf("%w: both are the %s's", ErrSources, a.Party())
	}
	o := &opening{state: state, epoch: epoch, sources: [2]Source{a, b}}
	for _, source := range o.sources {
		if opener, ok := source.(Opener); ok {
			o.openers = append(o.openers, opener)
		}
	}
	if len(o.openers) == 0 {
		return nil, fmt.Errorf("%w: neither has the metadata keys", ErrSources)
	}
	return o, nil
}

func (o *opening) slot(slot *ledger.Slot) Opened {
	result := Opened{Slot: slot.ID, Epoch: o.epoch}
	put := newestIn(slot, o.epoch)
	if put.GetVersion() != slot.Version {
		result.Err = o.otherSplit(slot, put)
	}
	if put == nil {
		return result
	}
	result.Version = put.Version
	var metadataErr, secretErr error
	result.Metadata, metadataErr = o.metadata(put)
	result.Secret, secretErr = o.secret(put)
	result.NotBackedUp = o.notBackedUp(put, secretErr)
	if errs := errors.Join(metadataErr, secretErr); errs != nil {
		result.Err = errors.Join(result.Err, errs)
	}
	return result
}

// newestIn returns the newest version of a slot that is split in an epoch, nil if
// none is.
func newestIn(slot *ledger.Slot, epoch uint64) *recordv1.SlotPut {
	var newest *recordv1.SlotPut
	for _, put := range slot.Puts() {
		if put.Epoch == epoch && put.Version >= newest.GetVersion() {
			newest = put
		}
	}
	return newest
}

// otherSplit names the epochs in which the newest version is split.
func (o *opening) otherSplit(slot *ledger.Slot, older *recordv1.SlotPut) error {
	var epochs []int
	for _, put := range slot.Puts() {
		if put.Version == slot.Version {
			epochs = append(epochs, int(put.Epoch))
		}
	}
	opened := "nothing of it opens"
	if older != nil {
		opened = fmt.Sprintf("this is the older version %d", older.Version)
	}
	return fmt.Errorf("%w %d: version %d is split in %s; %s", ErrOtherSplit, o.epoch, slot.Version, listed("epoch", epochs), opened)
}

// metadata opens a version's metadata with the first key that is the right one.
func (o *opening) metadata(put *recordv1.SlotPut) (*recordv1.SlotMetadata, error) {
	var errs []error
	for _, opener := range o.openers {
		key, err := opener.MetadataKey(put.Generation)
		if err == nil {
			var metadata *recordv1.SlotMetadata
			if metadata, err = credential.OpenMetadata(key, o.state.Account(), put); err == nil {
				return metadata, nil
			}
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (o *opening) secret(put *recordv1.SlotPut) (*recordv1.Secret, error) {
	var shares [][]byte
	var errs []error
	defer func() {
		for _, share := range shares {
			clear(share)
		}
	}()
	for _, source := range o.sources {
		share, err := source.Share(put)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source.Party(), err))
			continue
		}
		shares = append(shares, share)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return credential.OpenSecret(o.state.Account(), put, shares...)
}

// notBackedUp checks the slot key, which a Backup has done already.
func (o *opening) notBackedUp(put *recordv1.SlotPut, secretErr error) error {
	err := secretErr
	if o.sources[0].Party() != credential.Backup && o.sources[1].Party() != credential.Backup {
		if err = o.openers[0].CheckSlotKey(put); err == nil {
			return nil
		}
	} else if !errors.Is(err, seed.ErrSlotKey) {
		return nil
	}
	return fmt.Errorf("contacts cannot open it until it is stored again: %w", err)
}

// String returns "[secret]".
func (Opened) String() string { return redacted }

// GoString returns "[secret]".
func (Opened) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (Opened) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (Opened) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns "[secret]" in quotes.
func (Opened) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
