package recovery

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// Any two of device, server, and a quorum of contacts or the sheet open everything.
func TestAnyTwoOpenEverything(t *testing.T) {
	w := newAccount(t, 1, titles(5)...)
	for _, epoch := range []uint64{1, 2} {
		if epoch == 2 {
			w.newEpoch()
		}
		s := w.epochs[epoch]
		device, released := w.device(1), w.released
		own := must[*slip39.Share](t)(device.SeedShare(epoch))
		for name, test := range map[string]struct {
			shares []*slip39.Share // for the seed, nil where it is not needed
			other  Source
		}{
			"device and contacts": {[]*slip39.Share{own, s.members[0], s.members[2]}, device},
			"device and sheet":    {[]*slip39.Share{s.sheet.Share, own}, device},
			"server and contacts": {[]*slip39.Share{s.members[1], s.server, s.members[2]}, released},
			"server and sheet":    {[]*slip39.Share{s.server, s.sheet.Share}, released},
		} {
			t.Run(name, func(t *testing.T) {
				w.t = t
				backup := w.backup(epoch, test.shares...)
				defer backup.Erase()
				w.wantOpened(Open(t.Context(), w.state, epoch, test.other, backup))
				w.wantOpened(Open(t.Context(), w.state, epoch, backup, test.other))
			})
		}
		w.t = t
		w.wantOpened(Open(t.Context(), w.state, epoch, device, released))
	}
}

func TestOneSlotThatIsWrongLeavesTheOthers(t *testing.T) {
	w := newWorld(t, 2, nil)
	w.prepare(2, 3, true)
	other := must[*hpke.PublicKey](t)(w.epochs[1].master.SlotKey(7, 7))
	w.putDamaged(map[string]func(*credential.Put){
		"slot key": func(p *credential.Put) { p.SlotKey = other },
	}, map[string]func(*recordv1.SlotPut){
		"backup share": func(p *recordv1.SlotPut) { p.SealedBackupShare[70] ^= 1 },
		"device share": func(p *recordv1.SlotPut) { p.Secret.SealedDeviceShare[20] ^= 1 },
		"tag":          func(p *recordv1.SlotPut) { p.Secret.Tag[0] ^= 1 },
		"metadata":     func(p *recordv1.SlotPut) { p.SealedMetadata[20] ^= 1 },
		"backup hash":  func(p *recordv1.SlotPut) { p.Secret.BackupShareHash[0] ^= 1 },
	}, "fine", "slot key", "backup share", "device share", "tag", "metadata", "backup hash", "server share", "server has none")
	w.commit(1)
	wrong := w.state
	w.released.Add(1, w.slots["server share"], 1, bytes.Repeat([]byte{2}, 98))
	delete(w.released.shares(), slotVersion{1, w.slots["server has none"], 1})

	s := w.epochs[1]
	backup := w.backup(1, s.server, s.members[0], s.members[1])
	device := w.device(1)
	wrongShare := &credential.WrongShareError{}
	type wants map[string]error // nil: as it was stored
	for name, test := range map[string]struct {
		a, b Source
		want wants
	}{
		"device and contacts": {device, backup, wants{
			"slot key": seed.ErrSlotKey, "backup share": credential.ErrOpen, "device share": credential.ErrOpen,
			"tag": credential.ErrTag, "metadata": credential.ErrOpen, "backup hash": wrongShare,
		}},
		"server and contacts": {backup, w.released, wants{
			"slot key": seed.ErrSlotKey, "backup share": credential.ErrOpen, "tag": credential.ErrTag, "metadata": credential.ErrOpen,
			"backup hash": wrongShare, "server share": wrongShare, "server has none": ErrNoShare,
		}},
		"device and server": {w.released, device, wants{
			"device share": credential.ErrOpen, "tag": credential.ErrTag, "metadata": credential.ErrOpen,
			"server share": wrongShare, "server has none": ErrNoShare,
		}},
	} {
		opened, err := Open(t.Context(), wrong, 1, test.a, test.b)
		ok(t, err)
		if len(opened) != len(w.slots) {
			t.Fatalf("%s: %d slots", name, len(opened))
		}
		for title := range w.slots {
			o := w.find(opened, title)
			want := test.want[title]
			var named *credential.WrongShareError
			switch {
			case want == nil:
				_, secret := login(title)
				if o.Err != nil || !proto.Equal(o.Secret, secret) {
					t.Errorf("%s: %s: %v", name, title, o.Err)
				}
			case want == error(wrongShare):
				if !errors.As(o.Err, &named) || o.Secret != nil {
					t.Errorf("%s: %s: %v", name, title, o.Err)
				}
			case !errors.Is(o.Err, want) || (o.Secret != nil) != (title == "metadata") || (o.Metadata == nil) != (title == "metadata"):
				t.Errorf("%s: %s: %v", name, title, o.Err)
			}
			if (o.NotBackedUp != nil) != (title == "slot key") {
				t.Errorf("%s: %s is not backed up: %v", name, title, o.NotBackedUp)
			}
		}
	}
}

// A quorum of an earlier epoch opens what was split there, and says what it opens.
func TestAnEarlierEpochSaysWhatIsNewer(t *testing.T) {
	w := newAccount(t, 3, "old", "changed")
	old := w.backup(1, w.epochs[1].device, w.epochs[1].members[0], w.epochs[1].members[1])
	w.newEpoch()
	w.put(nil, "new")
	w.apply(w.split("changed", 2, 2, w.state.Counter(1)+1, nil))

	opened, err := Open(t.Context(), w.state, 1, w.device(1), old)
	ok(t, err)
	if o := w.find(opened, "old"); o.Err != nil || o.Secret == nil {
		t.Errorf("old: %v", o.Err)
	}
	changed := w.find(opened, "changed")
	if !errors.Is(changed.Err, ErrOtherSplit) || changed.Version != 1 || changed.Secret == nil ||
		!strings.Contains(changed.Err.Error(), "version 2 is split in epoch 2; this is the older version 1") {
		t.Errorf("changed: version %d, %v", changed.Version, changed.Err)
	}
	if o := w.find(opened, "new"); !errors.Is(o.Err, ErrOtherSplit) || o.Secret != nil || o.Metadata != nil || o.Version != 0 {
		t.Errorf("new: %v", o.Err)
	}
	// The keys of one epoch open nothing of another.
	mixed, err := Open(t.Context(), w.state, 2, w.device(1), old)
	ok(t, err)
	for _, o := range mixed {
		if !errors.Is(o.Err, ErrOtherSplit) || o.Secret != nil {
			t.Errorf("%v: %v", o.Slot, o.Err)
		}
	}
}

func TestDeletedSlotsStayClosed(t *testing.T) {
	w := newAccount(t, 4, "kept", "deleted")
	id := w.slots["deleted"]
	w.apply(&recordv1.SlotDeleted{Slot: id[:]})
	delete(w.slots, "deleted")
	w.wantOpened(Open(t.Context(), w.state, 1, w.device(1), w.released))
}

func TestOpenRefuses(t *testing.T) {
	w := newAccount(t, 5, "one")
	device := w.device(1)
	for name, test := range map[string]struct {
		epoch uint64
		a, b  Source
		want  error
	}{
		"one party":        {1, device, w.device(1), ErrSources},
		"nobody's keys":    {1, w.released, NewReleased(), ErrSources},
		"no opener":        {1, w.released, onlyShares{device}, ErrSources},
		"an epoch to come": {2, device, w.released, ErrNoEpoch},
	} {
		if opened, err := Open(t.Context(), w.state, test.epoch, test.a, test.b); opened != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if opened, err := Open(ctx, w.state, 1, device, w.released); opened != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// onlyShares hides what else a source can do.
type onlyShares struct{ Source }
