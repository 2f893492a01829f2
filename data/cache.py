"""Keys and values of the tokens before, with room for more.

transformers' own cache is copied as a whole at every token. For 32 programs of 1,000 tokens by an
8B model that is 7 GB to read and to write for a token each.
"""
import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens; a copy then, and whenever a program has ended and leaves the batch


class GrowingLayer(DynamicLayer):
    """A layer's keys and values (B, heads, T, d), views of tensors that are longer."""

    room = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args,
               **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        """Add those of new tokens; all of them so far."""
        length = self.get_seq_length()
        if not length:
            return super().update(key_states, value_states, *args, **kwargs)
        end = length + key_states.shape[2]
        if self.room is None or self.room[0].shape[2] < end:
            batch, heads, _, size = self.keys.shape
            self.room = [old.new_empty(batch, heads, end + ROOM, size)
                         for old in (self.keys, self.values)]
            for room, old in zip(self.room, (self.keys, self.values)):
                room[:, :, :length] = old
        for room, new in zip(self.room, (key_states, value_states)):
            room[:, :, length:end] = new
        self.keys, self.values = (room[:, :, :end] for room in self.room)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows of the batch."""
        super().batch_select_indices(indices)
        self.room = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row of the batch."""
        super().batch_repeat_interleave(repeats)
        self.room = None


def growing_cache() -> Cache:
    """An empty cache for `past_key_values`; it gets its layers as the model writes to it."""
    return Cache(layer_class_to_replicate=GrowingLayer)
