package ledger

import (
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// ShareID names one server share of an account.
type ShareID struct {
	Kind    recordv1.SealedServerShare_Kind
	Epoch   uint64
	Slot    SlotID // with KIND_SLOT
	Version uint64 // with KIND_SLOT
	Member  uint64 // with KIND_WAITING
}

// ServerShare is a server share that a ledger names.
type ServerShare struct {
	ShareID
	Hash   [32]byte // SHA-256 of the share
	Device uint64   // that sealed it
}

// SealedShareID returns the name of a share as it travels beside the ledger.
func SealedShareID(s *recordv1.SealedServerShare) (ShareID, error) {
	id := ShareID{Kind: s.GetKind(), Epoch: s.GetEpoch(), Version: s.GetVersion(), Member: s.GetMember()}
	c := checker{where: "sealed_server_share"}
	c.between("epoch", id.Epoch, 1, maxIndex)
	switch id.Kind {
	case recordv1.SealedServerShare_KIND_SLOT:
		c.between("version", id.Version, 1, maxIndex)
		c.between("member", id.Member, 0, 0)
		if c.size("slot", s.Slot, idSize); c.err == nil {
			id.Slot = SlotID(s.Slot)
		}
	case recordv1.SealedServerShare_KIND_SEED:
		c.absent("slot", s.Slot)
		c.between("version", id.Version, 0, 0)
		c.between("member", id.Member, 0, 0)
	case recordv1.SealedServerShare_KIND_WAITING:
		c.absent("slot", s.Slot)
		c.between("version", id.Version, 0, 0)
		c.between("member", id.Member, 1, maxQuorum)
	default:
		c.fault("kind", "%d", id.Kind)
	}
	if c.err != nil {
		return ShareID{}, c.err
	}
	return id, nil
}

// ServerShares returns the server shares that the entry names, which must reach
// the server with it.
func (e *Entry) ServerShares() []ServerShare {
	var shares []ServerShare
	for _, record := range e.records {
		if r := record.GetSlotPut(); r != nil {
			shares = append(shares, slotShare(r))
		}
		if r := record.GetEpochPrepared(); r != nil {
			shares = append(shares, seedShare(r, e.Author()))
			for i := range r.Members {
				shares = append(shares, waitingShare(r, uint64(i)+1, e.Author()))
			}
		}
	}
	return shares
}

func slotShare(r *recordv1.SlotPut) ServerShare {
	id := ShareID{Kind: recordv1.SealedServerShare_KIND_SLOT, Epoch: r.Epoch, Slot: SlotID(r.Slot), Version: r.Version}
	return ServerShare{ShareID: id, Hash: [32]byte(r.Secret.ServerShareHash), Device: r.Device}
}

func seedShare(r *recordv1.EpochPrepared, author uint64) ServerShare {
	id := ShareID{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: r.Epoch}
	return ServerShare{ShareID: id, Hash: [32]byte(r.ServerShareHash), Device: author}
}

func waitingShare(r *recordv1.EpochPrepared, member, author uint64) ServerShare {
	id := ShareID{Kind: recordv1.SealedServerShare_KIND_WAITING, Epoch: r.Epoch, Member: member}
	return ServerShare{ShareID: id, Hash: [32]byte(r.Members[member-1].Waiting.ServerShareHash), Device: author}
}

// RequiredShares returns the server shares that the server must hold now, by
// epoch: for the epoch in use and the prepared one the seed's, the waiting
// halves of members without a receipt, and those of live slots that are split
// there.
func (s *State) RequiredShares() []ServerShare {
	var shares []ServerShare
	if s.inUse == 0 {
		return nil
	}
	live := s.LiveSlots()
	for _, number := range s.writtenEpochs() {
		e := s.epochs[number]
		shares = append(shares, seedShare(e.Record, e.Author))
		for _, m := range e.Members {
			if !m.Receipt {
				shares = append(shares, waitingShare(e.Record, m.Number, e.Author))
			}
		}
		for _, slot := range live {
			if p := slot.Put(number); p != nil {
				shares = append(shares, slotShare(p))
			}
		}
	}
	return shares
}
