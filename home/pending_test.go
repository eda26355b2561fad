package home

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

func TestWrites(t *testing.T) {
	writes := []Write{
		{Slot: ledger.SlotID{1}, Metadata: &recordv1.SlotMetadata{Title: "a"}, Secret: &recordv1.Secret{Notes: "b"}},
		{Slot: ledger.SlotID{2}, Base: 3, Metadata: &recordv1.SlotMetadata{}, Secret: &recordv1.Secret{}},
	}
	b := must[[]byte](t)(MarshalWrites(writes))
	got := must[[]Write](t)(ParseWrites(b))
	if len(got) != 2 || got[1].Slot != writes[1].Slot || got[1].Base != 3 || !proto.Equal(got[0].Metadata, writes[0].Metadata) || !proto.Equal(got[0].Secret, writes[0].Secret) {
		t.Errorf("got %v", got)
	}
	// The form that is on disks.
	const want = `[{"Slot":"AQAAAAAAAAAAAAAAAAAAAA==","Base":0,"Metadata":"EgFh","Secret":"CgFi"},{"Slot":"AgAAAAAAAAAAAAAAAAAAAA==","Base":3,"Metadata":"","Secret":""}]`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
	for _, bad := range []string{"", "{}", `[{"Slot":"hunter2"}]`, `[{"Slot":"AQ=="}]`, strings.Replace(want, "EgFh", "EgFhAA==", 1), strings.Replace(want, "CgFi", "CgVi", 1)} {
		if got, err := ParseWrites([]byte(bad)); !errors.Is(err, ErrDamaged) || got != nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", bad, got, err)
		}
	}
}
