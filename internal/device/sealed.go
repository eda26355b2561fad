package device

import (
	"context"
	"fmt"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// takeSealed keeps the server's shares, sealed to the server, that this device has
// not got: all of them on one that was added, later those that other devices
// wrote. Whichever device is left can then give a server that was restored from an
// older copy what it lost.
//
// The device cannot open them, and so cannot know whether they are right: the
// ledger's hash, with which the server compares them when it gets them back, is of
// what is inside. A server that seals something else harms itself alone.
func (d *Device) takeSealed(ctx context.Context) error {
	var lacking []*recordv1.SealedServerShare
	for _, r := range d.home.State().RequiredShares() {
		if d.home.HasServerShare(r.ShareID) {
			continue
		}
		name := &recordv1.SealedServerShare{Kind: r.Kind, Epoch: r.Epoch, Version: r.Version, Member: r.Member}
		if r.Kind == recordv1.SealedServerShare_KIND_SLOT {
			name.Slot = r.Slot[:]
		}
		lacking = append(lacking, name)
	}
	for len(lacking) > 0 {
		asked := lacking[:min(len(lacking), api.MaxSealedShares)]
		answer, err := d.client.SealedShares(ctx, d.identity(), asked)
		if err != nil {
			return err
		}
		if answer.Dealt == 0 || answer.Dealt > uint64(len(asked)) {
			return fmt.Errorf("%w: it deals with %d of %d shares", client.ErrDishonest, answer.Dealt, len(asked))
		}
		if err := d.keepSealed(asked[:answer.Dealt], answer.Shares); err != nil {
			return err
		}
		lacking = lacking[answer.Dealt:]
	}
	return nil
}

// keepSealed stores shares that the server has given, which are some of those that
// it was asked for.
func (d *Device) keepSealed(asked, given []*recordv1.SealedServerShare) error {
	open := map[ledger.ShareID]bool{}
	for _, a := range asked {
		id, err := ledger.SealedShareID(a)
		if err != nil {
			return err
		}
		open[id] = true
	}
	for _, g := range given {
		id, err := ledger.SealedShareID(g)
		if err != nil || !open[id] || len(g.Sealed) == 0 {
			return fmt.Errorf("%w: it gives a share that it was not asked for, or none", client.ErrDishonest)
		}
		delete(open, id)
	}
	return d.home.PutServerShares(given...)
}
