package main

import (
	"math"
	"slices"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/recovery"
)

// addPending adds the secrets that the device keeps because the server has not
// accepted them. No words are needed for these.
func (p *program) addPending(items []slotItem) []interchange.Item {
	names, err := p.home.PendingNames()
	if err != nil {
		p.report.fail(failed{Title: "secrets not accepted by the server", Reason: err.Error()})
	}
	for _, name := range names {
		writes, err := p.pending(name)
		if err != nil {
			p.report.fail(failed{Title: "a secret not accepted by the server", Reason: err.Error()})
		}
		for _, w := range writes {
			items = p.addWrite(items, w)
		}
	}
	all := make([]interchange.Item, len(items))
	for i, it := range items {
		all[i] = it.item
	}
	return all
}

func (p *program) pending(name string) ([]home.Write, error) {
	b, err := p.home.Pending(name)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return home.ParseWrites(b)
}

// addWrite puts a write in the place of the version that it follows. Where
// another device wrote a version since, both are kept: nobody can ask here which
// is right.
func (p *program) addWrite(items []slotItem, w home.Write) []slotItem {
	slot, known := p.state.Slot(w.Slot)
	if known && slot.Version > w.Base {
		own := slices.ContainsFunc(slot.Puts(), func(put *recordv1.SlotPut) bool {
			return put.Version == w.Base+1 && put.Device == p.device.Number()
		})
		if own || slot.Deleted {
			return items // the ledger has it
		}
	}
	added := slotItem{id: w.Slot, first: math.MaxUint64, item: interchange.Item{Metadata: w.Metadata, Secret: w.Secret}}
	if known && slot.Version == w.Base {
		p.report.forgive(w.Slot.String())
		if i := slices.IndexFunc(items, func(it slotItem) bool { return it.id == w.Slot }); i >= 0 {
			added.first = items[i].first
			items[i] = added
			return items
		}
	}
	return append(items, added)
}

// nameless stands for metadata that did not open.
func nameless(o recovery.Opened) *recordv1.SlotMetadata {
	m := &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: "slot " + o.Slot.String()}
	switch o.Secret.Kind.(type) {
	case *recordv1.Secret_Login:
		m.Kind = recordv1.SlotMetadata_KIND_LOGIN
	case *recordv1.Secret_Card:
		m.Kind = recordv1.SlotMetadata_KIND_CARD
	case *recordv1.Secret_Identity:
		m.Kind = recordv1.SlotMetadata_KIND_IDENTITY
	case *recordv1.Secret_SshKey:
		m.Kind = recordv1.SlotMetadata_KIND_SSH_KEY
	case *recordv1.Secret_HeldShare:
		m.Kind = recordv1.SlotMetadata_KIND_HELD_SHARE
	}
	return m
}
