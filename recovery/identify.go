package recovery

import (
	"bytes"
	"fmt"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// Place says whose share of an epoch's seed a share is.
type Place struct {
	Epoch  uint64
	Holder recordv1.Holder_Kind // server, device, member or sheet
	Member uint64               // from 1, with KIND_MEMBER
	Paper  bool                 // whether the member is paper
}

// String says it in words, like "the share of contact 2 in epoch 1".
func (p Place) String() string { return fmt.Sprintf("%s in epoch %d", p.share(), p.Epoch) }

func (p Place) share() string {
	switch {
	case p.Holder == recordv1.Holder_KIND_SERVER:
		return "the server's share"
	case p.Holder == recordv1.Holder_KIND_DEVICE:
		return "the devices' share"
	case p.Holder == recordv1.Holder_KIND_SHEET:
		return "the sheet's share"
	case p.Paper:
		return fmt.Sprintf("the share on paper %d", p.Member)
	}
	return fmt.Sprintf("the share of contact %d", p.Member)
}

// In returns nil if the share is of this epoch, and an error that wraps
// [ErrOtherEpoch] if it is of another one.
func (p Place) In(epoch uint64) error {
	if p.Epoch == epoch {
		return nil
	}
	return fmt.Errorf("%w: it is %s, needed is one of epoch %d", ErrOtherEpoch, p, epoch)
}

// Identify finds out whose share of which epoch of the account a share is, by its
// SLIP-39 identifier, group and member, and proves its value by what the ledger
// has of it: a member's share key, or the hash of the server's or the devices'
// share. A sheet's share has nothing to be proved by until the seed is rebuilt.
//
// It returns an error that wraps [ErrOtherAccount], slip39.ErrErased or, with the
// place, [ErrWrongShare].
func Identify(share *slip39.Share, state *ledger.State) (Place, error) {
	if share == nil || !alive(share) {
		return Place{}, slip39.ErrErased
	}
	// The newest epoch that the share fits is its own if none proves it: the 15
	// bits of an identifier may repeat.
	var nearest Place
	var doubt error
	for number := state.NextEpoch() - 1; number >= 1; number-- {
		epoch, ok := state.Epoch(number)
		if !ok {
			continue
		}
		place, ok := placeIn(share, epoch)
		if !ok {
			continue
		}
		proved, err := prove(share, state.Account(), epoch, place)
		if proved {
			return place, nil
		}
		if nearest == (Place{}) {
			nearest, doubt = place, err
		}
	}
	if nearest == (Place{}) {
		return Place{}, fmt.Errorf("%w: its set %d is none of the account's", ErrOtherAccount, share.Identifier())
	}
	return nearest, doubt
}

// alive says whether a share was not erased.
func alive(share *slip39.Share) bool {
	value := share.Value()
	defer clear(value)
	return value != nil
}

// placeIn says which place a share claims in an epoch, and false if its set or
// its parameters are not the epoch's.
func placeIn(share *slip39.Share, epoch *ledger.Epoch) (Place, bool) {
	groups := seed.GroupSheet
	if epoch.SheetKey != nil {
		groups++
	}
	if uint64(share.Identifier()) != epoch.Record.Identifier || !share.Extendable() || share.IterationExponent() != 0 ||
		share.GroupThreshold() != 2 || share.GroupCount() != groups {
		return Place{}, false
	}
	place := Place{Epoch: epoch.Number}
	threshold, count := 1, 1
	switch share.GroupIndex() {
	case seed.GroupServer:
		place.Holder = recordv1.Holder_KIND_SERVER
	case seed.GroupDevices:
		place.Holder = recordv1.Holder_KIND_DEVICE
	case seed.GroupContacts:
		place.Holder, place.Member = recordv1.Holder_KIND_MEMBER, uint64(share.MemberIndex())+1
		threshold, count = epoch.Quorum(), len(epoch.Members)
		if m, ok := epoch.Member(place.Member); ok {
			place.Paper = m.Paper
		}
	case seed.GroupSheet:
		place.Holder = recordv1.Holder_KIND_SHEET
	}
	return place, share.GroupIndex() < groups && share.MemberThreshold() == threshold && share.MemberIndex() < count
}

// prove compares a share with what the ledger has of its place. The error is nil
// for a sheet's, which cannot be proved.
func prove(share *slip39.Share, account ledger.AccountID, epoch *ledger.Epoch, place Place) (bool, error) {
	wrong := fmt.Errorf("%w: it is named as %s, but is not the one in the ledger", ErrWrongShare, place)
	switch place.Holder {
	case recordv1.Holder_KIND_SHEET:
		return false, nil
	case recordv1.Holder_KIND_MEMBER:
		key, err := seed.ShareKey(share, account, epoch.Number, place.Member)
		if err != nil {
			return false, wrong
		}
		defer key.Erase()
		if m, ok := epoch.Member(place.Member); ok && key.PublicKey().Equal(m.ShareKey) {
			return true, nil
		}
		return false, wrong
	}
	want := epoch.Record.ServerShareHash
	if place.Holder == recordv1.Holder_KIND_DEVICE {
		want = epoch.Record.DeviceShareHash
	}
	hash, err := seed.ShareHash(share)
	if err != nil || !bytes.Equal(hash[:], want) {
		return false, wrong
	}
	return true, nil
}
