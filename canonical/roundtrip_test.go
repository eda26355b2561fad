package canonical

import (
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func TestRoundTrip(t *testing.T) {
	entry := &recordv1.Entry{Sequence: 1, Time: 2, Author: 1, Records: [][]byte{{1}, {}}, Proposal: &recordv1.Proposal{}}
	b, err := Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	var got recordv1.Entry
	if err := Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(entry, &got) {
		t.Errorf("got %v, want %v", &got, entry)
	}
}
