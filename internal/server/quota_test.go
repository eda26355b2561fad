package server_test

import (
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/ledger"
)

// A quota stops new secrets, and nothing that makes an account safer.
func TestQuota(t *testing.T) {
	w := &world{configure: func(c *server.Config) { c.Quota = server.Quota{Slots: 2, Bytes: 400 << 10} }}
	w.begin(t)
	owner, _ := w.family()
	w.ok(owner.write(1))
	w.ok(owner.write(2))
	w.refused(owner.write(3), api.ErrTooLarge)
	owner.store(2, 2, "another version") // no slot more
	owner.prepare(true)
	owner.split(2) // every secret once more, in the new epoch
	owner.add(&recordv1.SlotDeleted{Slot: owner.version(1, 1).Slot})
	w.restart() // sizes are counted anew
	owner.store(2, 3, strings.Repeat("long ", 12<<10))
	records, shares := owner.put(3, 1, strings.Repeat("long ", 12<<10)) // the second is too much
	w.refused(owner.send(owner.first(), []*ledger.Entry{owner.draft(owner.first(), records...)}, shares), api.ErrTooLarge)
	d := owner.addDevice()
	owner.add(&recordv1.DeviceLocked{Device: d.number})
}
