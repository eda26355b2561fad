package main

import (
	"fmt"

	"zeropass.dev/zeropass/credential"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
)

// failure says what did not open of a slot, and why.
func (p *program) failure(o recovery.Opened, slot *ledger.Slot) failed {
	f := failed{Slot: o.Slot.String(), Version: slot.Version, Reason: o.Err.Error(), Written: o.Secret != nil}
	if o.Metadata != nil {
		f.Title = o.Metadata.Title
	} else {
		f.Title = p.title(slot)
	}
	if o.NotBackedUp != nil {
		f.Reason += fmt.Sprintf("; %v", o.NotBackedUp)
	}
	if f.Written && o.Version != slot.Version {
		f.Reason += fmt.Sprintf("; version %d stands in its place", o.Version)
	}
	return f
}

// title returns the title of a slot's newest version, which the device reads by
// itself in any epoch. It is empty if it does not open.
func (p *program) title(slot *ledger.Slot) string {
	puts := slot.Puts()
	for i := len(puts) - 1; i >= 0; i-- {
		key, err := p.device.MetadataKey(puts[i].Generation)
		if err != nil {
			continue
		}
		if m, err := credential.OpenMetadata(key, p.state.Account(), puts[i]); err == nil {
			return m.Title
		}
	}
	return ""
}
