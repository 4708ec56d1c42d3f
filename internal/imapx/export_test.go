package imapx

import (
	"context"
	"time"
)

// TakeAsking is Take that asks for so many sizes at most.
func TakeAsking(ctx context.Context, o Options, now time.Time, most int) (Inventory, error) {
	return take(ctx, o, now, most)
}
